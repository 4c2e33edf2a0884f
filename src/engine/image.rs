//! Images: what a service would be made from, and the helper's own.
//!
//! The helper image is made here from this very executable: a tar in memory, imported through the API and tagged by
//! its content. No registry is needed, and it works on an engine of another host.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use bollard::body_full;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;

use super::{Engine, failed, is_missing};
use crate::model::{Failure, ImageId, Result};

/// The repository of helper images; the tag is the content.
const REPOSITORY: &str = "rehome-helper";
/// Where the executable lies in the helper image.
pub(super) const PROGRAM: &str = "/rehome";
/// An executable above this is not ours.
const LIMIT: u64 = 1 << 30;

/// An image of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// What registries call it.
    pub digests: Vec<String>,
    /// `PATH`-like pairs of its environment (no secrets belong there, but they are kept out of messages all the same).
    pub env: Vec<String>,
    /// The user that its containers run as, as it is written; empty is root.
    pub user: String,
    /// Anonymous volumes that it declares.
    pub volumes: Vec<String>,
}

impl Engine {
    /// The image that a reference means now; `None` if the engine does not have it.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn find_image(&self, reference: &str) -> Result<Option<Image>> {
        match self.docker.inspect_image(reference).await {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                let id = image.id.and_then(|id| ImageId::new(id).ok());
                let digests = image.repo_digests.unwrap_or_default();
                Ok(id.map(|id| Image {
                    id,
                    digests,
                    env: config.env.unwrap_or_default(),
                    user: config.user.unwrap_or_default(),
                    volumes: config.volumes.unwrap_or_default(),
                }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(format!("cannot inspect image {reference}"))(error)),
        }
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    /// When the engine does not have the image.
    pub async fn tag_image(&self, image: &ImageId, repository: &str, tag: &str) -> Result<()> {
        let options = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        self.docker
            .tag_image(image.as_str(), Some(options))
            .await
            .map_err(failed(format!("cannot tag image {image} as {repository}:{tag}")))
    }

    /// Gives a reference back to the image that it meant.
    ///
    /// # Errors
    /// When the engine does not have that image.
    pub async fn let_mean(&self, reference: &str, image: &ImageId) -> Result<()> {
        if self
            .find_image(reference)
            .await?
            .is_some_and(|now| now.id == *image)
        {
            return Ok(());
        }
        match split(reference) {
            (repository, Some(tag)) => self.tag_image(image, repository, tag).await,
            // What a digest or an id means, nothing can change.
            (_, None) => Ok(()),
        }
    }

    /// Takes a name from an image; the image goes only with its last name, when nothing is made of it. Gone already is
    /// fine.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn untag_image(&self, reference: &str) -> Result<()> {
        let options = RemoveImageOptionsBuilder::new()
            .force(false)
            .noprune(false)
            .build();
        match self.docker.remove_image(reference, Some(options), None).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(failed(format!("cannot remove the tag {reference}"))(error)),
        }
    }

    /// The tags of a repository of this engine, with the image of each.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn tags_of(&self, repository: &str) -> Result<Vec<(String, ImageId)>> {
        let filters = HashMap::from([("reference", vec![repository.to_owned()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let list = self
            .docker
            .list_images(Some(options))
            .await
            .map_err(failed("cannot list the images"))?;
        let mut tags = Vec::new();
        for image in list {
            let id =
                ImageId::new(image.id).map_err(|e| Failure::bug("an image without an id").because(&e))?;
            let of_it = image.repo_tags.into_iter();
            let own = of_it.filter_map(|name| {
                let tag = name.strip_prefix(repository)?.strip_prefix(':')?;
                Some((tag.to_owned(), id.clone()))
            });
            tags.extend(own);
        }
        tags.sort();
        Ok(tags)
    }

    /// Makes sure that the engine has the helper image of this executable, and returns its reference.
    ///
    /// # Errors
    /// When the engine has another architecture, or refuses the import.
    pub async fn helper_image(&self) -> Result<String> {
        self.helper_image
            .get_or_try_init(|| self.load_helper_image())
            .await
            .cloned()
    }

    async fn load_helper_image(&self) -> Result<String> {
        if !same_architecture(&self.architecture) {
            return Err(Failure::refused(format!(
                "the engine's host is {}, this rehome is built for {}",
                self.architecture,
                std::env::consts::ARCH
            ))
            .cause("the helper that copies the data is made of this executable and must run there")
            .data("nothing was changed")
            .hint(format!(
                "run a rehome built for {}, for example on that host itself",
                self.architecture
            )));
        }
        let program = self.program.clone();
        let archive = tokio::task::spawn_blocking(move || pack(&program))
            .await
            .map_err(|e| Failure::bug("packing the helper image panicked").because(&e))??;
        let tag = &blake3::hash(&archive).to_hex()[..16];
        let reference = format!("{REPOSITORY}:{tag}");
        if self.find_image(&reference).await?.is_some() {
            return Ok(reference);
        }
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(REPOSITORY)
            .tag(tag)
            .build();
        let mut import = self
            .docker
            .create_image(Some(options), Some(body_full(archive.into())), None);
        while let Some(progress) = import.next().await {
            progress.map_err(failed("cannot load the helper image into the engine"))?;
        }
        match self.find_image(&reference).await? {
            Some(_) => Ok(reference),
            None => Err(Failure::environment(
                "the engine took the helper image and does not have it",
            )),
        }
    }
}

/// Repository and tag; no tag where a digest says which image is meant, which nothing can change.
/// <https://pkg.go.dev/github.com/distribution/reference>
fn split(reference: &str) -> (&str, Option<&str>) {
    if reference.contains('@') || reference.starts_with("sha256:") {
        return (reference, None);
    }
    match reference.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (reference, Some("latest")),
    }
}

/// Docker's word for an architecture against Rust's.
fn same_architecture(engine: &str) -> bool {
    let known = match engine {
        "x86_64" | "amd64" => "x86_64",
        "aarch64" | "arm64" => "aarch64",
        other => other,
    };
    known == std::env::consts::ARCH
}

/// The executable, and its loader and libraries if it is not static, as a tar. Times and owners are fixed, so that
/// the same executable is the same image.
fn pack(program: &Path) -> Result<Vec<u8>> {
    let cannot = |error: &std::io::Error| {
        Failure::environment("cannot read this executable to make the helper image").because(error)
    };
    let size = std::fs::metadata(program).map_err(|e| cannot(&e))?.len();
    if size > LIMIT {
        return Err(Failure::environment(format!(
            "this executable has {size} bytes, which is beyond belief"
        )));
    }
    let mut archive = tar::Builder::new(Vec::with_capacity(
        usize::try_from(size).unwrap_or_default() + (1 << 20),
    ));
    append(&mut archive, PROGRAM, program).map_err(|e| cannot(&e))?;
    for library in libraries(program)? {
        append(&mut archive, &library.to_string_lossy(), &library).map_err(|e| cannot(&e))?;
    }
    // The engine wants these to be there when it mounts the helper's /proc, /dev and /sys on a read-only root.
    for directory in ["proc/", "dev/", "sys/", "etc/", "from/", "to/", "state/", "tmp/"] {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        archive
            .append_data(&mut header, directory, std::io::empty())
            .map_err(|e| cannot(&e))?;
    }
    archive.into_inner().map_err(|e| cannot(&e))
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, file: &Path) -> std::io::Result<()> {
    let file = std::fs::File::open(file)?;
    let size = file.metadata()?.len();
    archive.append_data(
        &mut header(size, 0o755),
        name.trim_start_matches('/'),
        file.take(size),
    )
}

/// The loader and the libraries of a dynamically linked executable, under the paths where it looks for them; none for
/// a static one. The loader itself is asked, as `ldd` does: <https://man7.org/linux/man-pages/man8/ld.so.8.html>
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::environment("cannot find the libraries of this executable to make the helper image")
            .cause(error.to_string())
            .hint("a release build is static and needs none")
    };
    let Some(loader) = interpreter(program).map_err(|e| cannot(&e))? else {
        return Ok(BTreeSet::new());
    };
    // The loader wants the file itself and not the link in /proc, unless the file was replaced meanwhile.
    let real = std::fs::read_link(program).unwrap_or_else(|_| program.to_owned());
    let target = if real.exists() { real.as_path() } else { program };
    let output = std::process::Command::new(&loader)
        .arg("--list")
        .arg(target)
        .env_clear()
        .output()
        .map_err(|e| cannot(&e))?;
    if !output.status.success() {
        return Err(cannot(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    let mut found = BTreeSet::from([loader]);
    // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)"
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let path = line
            .split("=>")
            .last()
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_default();
        if path.starts_with('/') {
            found.insert(path.into());
        }
    }
    Ok(found)
}

/// The ELF interpreter (`PT_INTERP`) of a 64-bit little-endian executable; `None` for a static one.
/// <https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html>
fn interpreter(program: &Path) -> std::io::Result<Option<PathBuf>> {
    const PT_INTERP: u32 = 3;
    let mut start = vec![0; 64 * 1024];
    let mut file = std::fs::File::open(program)?;
    let read = file.read(&mut start)?;
    start.truncate(read);
    let bytes = |at: usize, n: usize| {
        start
            .get(at..at + n)
            .ok_or_else(|| std::io::Error::other("short ELF header"))
    };
    let number = |at: usize, n: usize| {
        bytes(at, n).map(|b| {
            b.iter()
                .rev()
                .fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
        })
    };
    if bytes(0, 6)? != b"\x7fELF\x02\x01" {
        return Err(std::io::Error::other("not a 64-bit little-endian ELF file"));
    }
    let (table, entry, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for i in 0..count {
        let at = table + i * entry;
        if number(at, 4)? == PT_INTERP as usize {
            let name = bytes(number(at + 8, 8)?, number(at + 32, 8)?)?;
            let name = String::from_utf8_lossy(name);
            return Ok(Some(PathBuf::from(name.trim_end_matches('\0'))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_taken_apart_as_docker_does() {
        for (reference, repository, tag) in [
            ("app", "app", Some("latest")),
            ("app:1", "app", Some("1")),
            ("localhost:5000/app", "localhost:5000/app", Some("latest")),
            ("localhost:5000/a/b:1.2", "localhost:5000/a/b", Some("1.2")),
            ("sha256:00", "sha256:00", None),
            ("app@sha256:00", "app@sha256:00", None),
            ("app:1@sha256:00", "app:1@sha256:00", None),
        ] {
            assert_eq!(split(reference), (repository, tag), "{reference}");
        }
    }

    #[test]
    fn a_dynamic_program_brings_its_loader_and_what_ldd_names() {
        let program = Path::new("/bin/ls");
        let ours = libraries(program).unwrap();
        let ldd = std::process::Command::new("ldd").arg(program).output().unwrap();
        for line in String::from_utf8_lossy(&ldd.stdout).lines() {
            if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
                assert!(
                    ours.contains(Path::new(path)),
                    "{path} of ldd is missing in {ours:?}"
                );
            }
        }
        assert!(
            ours.iter().any(|p| p.to_string_lossy().contains("ld-linux")),
            "{ours:?}"
        );
    }

    #[test]
    fn the_same_executable_is_the_same_image() {
        let pack = || blake3::hash(&pack(Path::new(super::super::RUNNING)).unwrap());
        assert_eq!(pack(), pack());
    }
}
