//! PostgreSQL's control file: the database's identity, and whether it was shut down cleanly.
//!
//! The first fields have stood where they are since 8.0:
//! <https://github.com/postgres/postgres/blob/REL_17_STABLE/src/include/catalog/pg_control.h>

use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::io::Errno;

use super::content::open_file;
use super::cursor::{open_dir, open_root};
use super::fault::{Fault, Result, escape, show_path};
use super::protocol::{FailClass, PgControl};

/// PG_CONTROL_FILE_SIZE: padded, so that a reader of another version gets a version and not an early end.
const LENGTH: usize = 8192;

/// PG_CONTROL_VERSION of 9.0 up to what the next major versions will have: the version times a hundred.
const VERSIONS: std::ops::Range<u32> = 903..3000;

/// Reads `global/pg_control` and `PG_VERSION` of a data directory.
///
/// # Errors
/// When they are not there or are not what PostgreSQL writes.
pub fn read(dir: &Path) -> Result<PgControl> {
    let failed = |what: &'static str| move |errno| Fault::on_path("read", &dir.join(what), errno);
    let root = open_root(dir).map_err(failed(""))?;
    let control = open_dir(root.as_fd(), b"global")
        .and_then(|global| open_file(global.as_fd(), b"pg_control"))
        .and_then(|file| head(&file, LENGTH + 1))
        .map_err(failed("global/pg_control"))?;
    let version = open_file(root.as_fd(), b"PG_VERSION")
        .and_then(|file| head(&file, 64))
        .map_err(failed("PG_VERSION"))?;
    let (system_identifier, state) = parse(&control).map_err(|because| {
        Fault::new(
            FailClass::Other,
            format!("{} is no control file", show_path(&dir.join("global/pg_control"))),
            because,
        )
    })?;
    let version = escape(version.trim_ascii());
    Ok(PgControl {
        system_identifier,
        state: state.to_owned(),
        version,
    })
}

fn head(file: &std::os::fd::OwnedFd, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; limit];
    let mut len = 0;
    while len < limit {
        match rustix::io::pread(file, &mut bytes[len..], len as u64) {
            Ok(0) => break,
            Ok(got) => len += got,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn parse(file: &[u8]) -> Result<(u64, &'static str), String> {
    if file.len() != LENGTH {
        return Err(format!("it is not {LENGTH} bytes long"));
    }
    let word = |at: usize| {
        file.get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    };
    let identifier = file
        .get(..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes);
    let version = word(8);
    if VERSIONS.contains(&version.swap_bytes()) {
        return Err("it was written by a machine of the other byte order".to_owned());
    }
    if !VERSIONS.contains(&version) {
        return Err(format!("its version {version} is unknown"));
    }
    if identifier == 0 {
        return Err("the system identifier is 0".to_owned());
    }
    // enum DBState, in the words of pg_controldata.
    let state = match word(16) {
        0 => "starting up",
        1 => "shut down",
        2 => "shut down in recovery",
        3 => "shutting down",
        4 => "in crash recovery",
        5 => "in archive recovery",
        6 => "in production",
        other => return Err(format!("the state {other} is unknown")),
    };
    Ok((identifier, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u32, state: u32) -> Vec<u8> {
        let mut bytes = 0x1122_3344_5566_7788_u64.to_ne_bytes().to_vec();
        for word in [version, 202_209_061, state] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.resize(LENGTH, 0);
        bytes
    }

    #[test]
    fn the_state_is_named_as_pg_controldata_names_it() {
        assert_eq!(parse(&file(1300, 1)), Ok((0x1122_3344_5566_7788, "shut down")));
        assert_eq!(parse(&file(1800, 6)).unwrap().1, "in production");
    }

    #[test]
    fn what_is_no_control_file_is_refused() {
        for (bytes, because) in [
            (vec![0; LENGTH], "its version 0 is unknown"),
            (file(1300, 1)[..100].to_vec(), "it is not 8192 bytes long"),
            (vec![1; LENGTH + 1], "it is not 8192 bytes long"),
            (file(1300, 7), "the state 7 is unknown"),
            (
                file(1300_u32.swap_bytes(), 1),
                "it was written by a machine of the other byte order",
            ),
        ] {
            assert_eq!(parse(&bytes).unwrap_err(), because);
        }
    }
}
