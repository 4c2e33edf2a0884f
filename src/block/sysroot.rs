//! Where the machine's own files are: `/`, or a directory that holds an image or a test's make-believe machine. What an
//! image's links lead to is decided here: never to a file of the machine that this runs on.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{Failure, Result, shell_path};

/// The directory that paths of the machine are below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysroot(PathBuf);

impl Sysroot {
    /// This machine, or what lies in `dir`.
    #[must_use]
    pub fn new(dir: Option<&Path>) -> Self {
        // By its real name: what is mounted in it is known by that.
        let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        Self(dir.map_or_else(|| "/".into(), real))
    }

    /// Whether it is the machine that this runs on.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where an absolute path of the machine is found: `/etc/fstab` in `/images/new` is `/images/new/etc/fstab`. Links are
    /// not looked at: what is opened or made goes through [`Self::real`] or [`Self::entry`].
    #[must_use]
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What a path is called by the machine itself: the opposite of [`Self::at`]. A path outside stays as it is.
    #[must_use]
    pub fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0)
            .map_or_else(|_| path.to_owned(), |inside| Path::new("/").join(inside))
    }

    /// Where an absolute path of the machine really is, links followed as far as there is something.
    ///
    /// # Errors
    /// Refused when a link of an image leads out of it, as an absolute one does, or to nothing; when it cannot be followed.
    pub fn real(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.at(path);
        if self.is_machine() {
            return Ok(path);
        }
        let refused = |why: &str| {
            Failure::refused(format!("{} leads out of {}", path.display(), self.0.display()))
                .cause(why)
                .data("nothing was changed there")
                .hint("make the link a relative one: ln -sfn TARGET LINK; or run this in the image itself, by chroot")
        };
        for there in path.ancestors() {
            match there.canonicalize() {
                Ok(real) if real.starts_with(&self.0) => {
                    let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                    return Ok(real.join(rest).components().collect());
                }
                Ok(real) => return Err(refused(&format!("a link leads to {}", real.display()))),
                // What an image's link leads to need not be there on this machine.
                Err(error) if error.kind() == io::ErrorKind::NotFound && there.is_symlink() => {
                    return Err(refused(&format!("{} is a link to nothing", there.display())));
                }
                Err(error)
                    if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {}
                Err(error) => {
                    return Err(
                        Failure::environment(format!("cannot look at {}", there.display())).because(&error),
                    );
                }
            }
        }
        Ok(path)
    }

    /// As [`Self::real`], but of a link itself and not of what it leads to.
    ///
    /// # Errors
    /// As [`Self::real`].
    pub fn entry(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        match (path.parent(), path.file_name()) {
            (Some(above), Some(name)) => Ok(self.real(above)?.join(name)),
            _ => self.real(path),
        }
    }

    /// That a path may be a mount point: there is neither a link nor a file on the way, as far as there is something.
    /// What is mounted is known by its real name alone.
    ///
    /// # Errors
    /// Refused, with the real name.
    pub fn prove_straight(&self, at: &Path) -> Result<()> {
        let point = self.at(at);
        let refused = |why: String| {
            Failure::refused(format!("{} cannot be a mount point", at.display()))
                .cause(why)
                .data("nothing was changed")
        };
        let mut ways: Vec<_> = point.ancestors().filter(|way| way.starts_with(&self.0)).collect();
        ways.reverse();
        for way in ways {
            let meta = match way.symlink_metadata() {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    return Err(
                        Failure::environment(format!("cannot look at {}", way.display())).because(&error)
                    );
                }
            };
            if meta.is_symlink() {
                let failure = refused(format!("{} is a symlink", way.display()));
                let rest = point.strip_prefix(way).unwrap_or(Path::new(""));
                // Of a link that leads out of an image there is nothing to be said that helps.
                let real = way.canonicalize().ok().filter(|real| real.starts_with(&self.0));
                return Err(match real.map(|real| real.join(rest)) {
                    Some(real) => {
                        let real: PathBuf = self.inside(&real).components().collect();
                        failure.hint(format!("use the real name: --at {}", shell_path(&real)))
                    }
                    None => failure.hint("name a directory that no link leads to"),
                });
            }
            if !meta.is_dir() {
                return Err(refused(format!("{} is no directory", way.display()))
                    .hint("name a directory, or a place where none is yet: it is made"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::Kind;

    #[test]
    fn paths_are_found_below_it() {
        assert_eq!(Sysroot::new(None).at("/etc/fstab"), Path::new("/etc/fstab"));
        let image = Sysroot::new(Some(Path::new("/images/new")));
        assert_eq!(image.at("/etc/fstab"), Path::new("/images/new/etc/fstab"));
        assert!(!image.is_machine());
        assert!(Sysroot::new(Some(Path::new("/usr/.."))).is_machine());
        assert_eq!(
            image.inside(Path::new("/images/new/etc/fstab")),
            Path::new("/etc/fstab")
        );
        assert_eq!(
            Sysroot::new(None).inside(Path::new("/etc/fstab")),
            Path::new("/etc/fstab")
        );
    }

    #[test]
    fn links_of_an_image_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/lib", root.join("out")).unwrap();
        symlink("../../../../../../../../../etc", root.join("etc/up")).unwrap();
        symlink("/no/such/file", root.join("etc/fstab")).unwrap();
        let image = Sysroot::new(Some(&root));
        assert_eq!(image.real("/lib/x/y"), Ok(root.join("usr/lib/x/y")));
        assert_eq!(image.real("/etc/none"), Ok(root.join("etc/none")));
        for path in ["/out", "/out/systemd", "/etc/up/fstab", "/etc/fstab"] {
            assert_eq!(image.real(path).unwrap_err().kind, Kind::Refused, "{path}");
        }
        assert_eq!(image.entry("/etc/fstab"), Ok(root.join("etc/fstab")));
        assert_eq!(image.entry("/out/x").unwrap_err().kind, Kind::Refused);
        // Of the machine itself links are its own affair.
        assert_eq!(Sysroot::new(None).real(root.join("out")), Ok(root.join("out")));
    }

    #[test]
    fn a_mount_point_has_its_real_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("mnt/kms data")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        symlink("mnt", root.join("data")).unwrap();
        symlink("/mnt", root.join("out")).unwrap();
        let image = Sysroot::new(Some(&root));
        let prove = |path: &str| image.prove_straight(Path::new(path));
        assert_eq!(prove("/mnt/kms data"), Ok(()));
        assert_eq!(prove("/mnt/new/deep"), Ok(()));
        let linked = prove("/data/kms data").unwrap_err();
        assert_eq!(linked.kind, Kind::Refused);
        assert_eq!(linked.hints, ["use the real name: --at '/mnt/kms data'"]);
        for path in ["/file", "/file/x", "/out", "/out/x"] {
            assert_eq!(prove(path).unwrap_err().kind, Kind::Refused, "{path}");
        }
        // As of the machine itself.
        let linked = Sysroot::new(None).prove_straight(&root.join("data")).unwrap_err();
        let hint = format!("use the real name: --at {}", root.join("mnt").display());
        assert_eq!(linked.hints, [hint]);
    }
}
