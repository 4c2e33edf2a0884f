//! The maintenance page that somebody wants: the built-in one, or a file of theirs.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::{Failure, Result};

/// A page that a browser shows at once is shorter by far; pictures in it may take their room.
const LONGEST: usize = 256 << 10;

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageRequest {
    /// Rehome's own.
    BuiltIn,
    /// An HTML file.
    File(PathBuf),
}

impl PageRequest {
    /// What somebody's own page says.
    ///
    /// # Errors
    /// Refuses what is no page, before anything changes.
    pub(super) fn text(&self) -> Result<Option<String>> {
        match self {
            Self::BuiltIn => Ok(None),
            Self::File(path) => read(path)
                .map(Some)
                .map_err(|failure| failure.data("nothing was changed")),
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let unread =
        |e: &std::io::Error| Failure::refused(format!("cannot read the maintenance page {shown}")).because(e);
    // Before it is opened: a pipe would be waited for.
    let meta = std::fs::metadata(path).map_err(|e| unread(&e))?;
    if !meta.is_file() {
        return Err(Failure::refused(format!(
            "the maintenance page {shown} is not a file"
        )));
    }
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut text))
        .map_err(|e| unread(&e))?;
    if text.len() > LONGEST {
        return Err(
            Failure::refused(format!("the maintenance page {shown} is too long"))
                .cause(format!("it may have {} KiB", LONGEST >> 10))
                .hint("leave out what it can do without, or show large pictures from elsewhere"),
        );
    }
    if text.trim_ascii().is_empty() {
        return Err(Failure::refused(format!("the maintenance page {shown} is empty")));
    }
    String::from_utf8(text).map_err(|e| {
        Failure::refused(format!("the maintenance page {shown} is not UTF-8"))
            .because(&e)
            .hint("it is sent as `text/html; charset=utf-8`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_page_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |name: &str, content: Option<&[u8]>| {
            let path = dir.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let failure = PageRequest::File(path).text().unwrap_err();
            assert_eq!(failure.kind, crate::model::Kind::Refused);
            assert_eq!(failure.data.as_deref(), Some("nothing was changed"));
            failure.to_string().replace(dir.path().to_str().unwrap(), "DIR")
        };
        assert!(refused("none", None).starts_with("cannot read the maintenance page DIR/none: No such file"));
        assert_eq!(refused("", None), "the maintenance page DIR/ is not a file");
        assert_eq!(
            refused("blank", Some(b" \n")),
            "the maintenance page DIR/blank is empty"
        );
        assert!(
            refused("latin", Some(b"<p>caf\xe9</p>"))
                .starts_with("the maintenance page DIR/latin is not UTF-8")
        );
        assert_eq!(
            refused("long", Some(&vec![b'x'; LONGEST + 1])),
            "the maintenance page DIR/long is too long: it may have 256 KiB"
        );
    }

    #[test]
    fn a_page_may_be_as_long_as_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        std::fs::write(&path, vec![b'x'; LONGEST]).unwrap();
        let text = PageRequest::File(path).text().unwrap();
        assert_eq!(text.map(|t| t.len()), Some(LONGEST));
        assert_eq!(PageRequest::BuiltIn.text().unwrap(), None);
    }
}
