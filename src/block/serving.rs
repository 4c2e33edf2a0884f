//! The service of systemd that `rehome serve` runs as. Everything is said in it, nothing looked for.

use std::ffi::OsString;
use std::path::Path;

use super::boot::{MARK, Piece, UNITS, exec_word, fill, word};
use crate::model::Result;

const SERVICE: &str = include_str!("../../templates/rehome-serve.service");

/// What it is called.
pub const NAME: &str = "rehome-serve.service";

/// What is called, and with which environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The program by its path, and all that is said to it.
    pub words: Vec<OsString>,
    /// Variables, each with its value.
    pub environment: Vec<(String, String)>,
}

/// The service.
///
/// # Errors
/// When something cannot be said in a unit.
pub fn unit(serving: &Serving) -> Result<Piece> {
    let words: Result<Vec<_>> = serving.words.iter().map(|text| exec_word(text)).collect();
    let environment = serving.environment.iter();
    let environment: Result<Vec<_>> = environment
        .map(|(name, value)| word(format!("{name}={value}").as_ref()))
        .collect();
    let values = [
        ("mark", MARK.to_owned()),
        ("environment", environment?.join(" ")),
        ("command", words?.join(" ")),
    ];
    Ok(Piece::File {
        path: Path::new(UNITS).join(NAME),
        text: fill(SERVICE, &values)?,
    })
}
