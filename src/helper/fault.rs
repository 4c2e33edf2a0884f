//! What went wrong inside the helper, and how the host is to take it.
//!
//! System calls tell an errno; here it becomes a sentence with the path of the entry and a class. Nothing else in
//! the helper decides on classes by errno.

use rustix::io::Errno;

use super::protocol::FailClass;

/// A result whose error the host can be told.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// A failure as [`super::protocol::Line::Failed`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub what: String,
    /// Because of what.
    pub because: String,
    /// What the host can act on.
    pub class: FailClass,
}

/// Which tree an operation worked on: the same errno means another thing on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The tree that is read.
    Source,
    /// The tree that is written, or compared with the source.
    Destination,
}

impl Side {
    /// The word for it in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl Fault {
    /// A failure of the given class.
    pub fn new(class: FailClass, what: impl Into<String>, because: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            because: because.into(),
            class,
        }
    }

    /// What the request asks for is refused.
    pub fn refused(what: impl Into<String>, because: impl Into<String>) -> Self {
        Self::new(FailClass::Refused, what, because)
    }

    /// The source changed though nothing should write to it.
    #[must_use]
    pub fn source_changed(path: &[u8], because: impl Into<String>) -> Self {
        let what = format!("the source changed while it was copied: {}", show(path));
        Self::new(FailClass::SourceChanged, what, because)
    }

    /// A system call failed on an entry of one of the trees.
    #[must_use]
    pub fn io(side: Side, verb: &str, path: &[u8], errno: Errno) -> Self {
        let class = match errno {
            Errno::NOSPC | Errno::DQUOT => FailClass::Full,
            Errno::ROFS => FailClass::ReadOnly,
            // Our own limits say nothing about the source.
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => FailClass::Other,
            _ if side == Side::Source => FailClass::Source,
            _ => FailClass::Other,
        };
        Self::new(
            class,
            format!("cannot {verb} {} in the {}", show(path), side.word()),
            errno.to_string(),
        )
    }

    /// A system call failed on a path that the request names.
    #[must_use]
    pub fn on_path(verb: &str, path: &std::path::Path, errno: Errno) -> Self {
        let mut fault = Self::io(Side::Destination, verb, b"", errno);
        fault.what = format!("cannot {verb} {}", show_path(path));
        fault
    }
}

/// A path of an entry as text: every byte outside of printable ASCII as `\xNN`, the root as `.`.
#[must_use]
pub fn show(path: &[u8]) -> String {
    if path.is_empty() {
        ".".to_owned()
    } else {
        escape(path)
    }
}

/// A path of a request as text, escaped as entries are.
#[must_use]
pub fn show_path(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    show(path.as_os_str().as_bytes())
}

/// Bytes as text: every byte outside of printable ASCII as `\xNN`.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte == b' ' || byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else if write!(text, "\\x{byte:02x}").is_err() {
            // Writing into a String does not fail; there is nothing to lose here but the rest of a message.
            break;
        }
    }
    text
}

/// The errno of a failed call of the standard library.
#[must_use]
pub fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whether an entry went away or became another while we looked at it.
#[must_use]
pub fn vanished(errno: Errno) -> bool {
    // ELOOP and ENOTDIR: what was a directory or file a moment ago is a symlink or file now.
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_are_escaped() {
        assert_eq!(show(b""), ".");
        assert_eq!(show(b"media/a b.jpg"), "media/a b.jpg");
        assert_eq!(show(b"caf\xc3\xa9\n\x7f\xff"), "caf\\xc3\\xa9\\x0a\\x7f\\xff");
    }

    #[test]
    fn an_errno_becomes_a_class_by_the_side_it_happened_on() {
        for (side, errno, class) in [
            (Side::Destination, Errno::NOSPC, FailClass::Full),
            (Side::Destination, Errno::DQUOT, FailClass::Full),
            (Side::Destination, Errno::ROFS, FailClass::ReadOnly),
            (Side::Destination, Errno::IO, FailClass::Other),
            (Side::Source, Errno::IO, FailClass::Source),
            (Side::Source, Errno::ACCESS, FailClass::Source),
            (Side::Source, Errno::MFILE, FailClass::Other),
        ] {
            assert_eq!(
                Fault::io(side, "read", b"x", errno).class,
                class,
                "{side:?} {errno:?}"
            );
        }
        let fault = Fault::io(Side::Source, "read", b"media/\xff", Errno::IO);
        assert_eq!(fault.what, "cannot read media/\\xff in the source");
        assert!(fault.because.contains("Input/output error"), "{}", fault.because);
    }
}
