//! Where the machine's own files are: `/`, or a directory that holds an image or a test's make-believe machine.

use std::path::{Path, PathBuf};

/// The directory that paths of the machine are below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysroot(PathBuf);

impl Sysroot {
    /// This machine, or what lies in `dir`.
    #[must_use]
    pub fn new(dir: Option<&Path>) -> Self {
        Self(dir.unwrap_or(Path::new("/")).to_owned())
    }

    /// Whether it is the machine that this runs on.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where an absolute path of the machine is found: `/etc/fstab` in `/images/new` is `/images/new/etc/fstab`.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_below_it() {
        assert_eq!(Sysroot::new(None).at("/etc/fstab"), Path::new("/etc/fstab"));
        let image = Sysroot::new(Some(Path::new("/images/new")));
        assert_eq!(image.at("/etc/fstab"), Path::new("/images/new/etc/fstab"));
        assert!(!image.is_machine());
        assert_eq!(
            image.inside(Path::new("/images/new/etc/fstab")),
            Path::new("/etc/fstab")
        );
        assert_eq!(
            Sysroot::new(None).inside(Path::new("/etc/fstab")),
            Path::new("/etc/fstab")
        );
    }
}
