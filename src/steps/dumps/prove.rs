//! Proves that a dump which was kept is whole.

use std::io::Read;

use super::link::Link;
use super::redis::Whole;
use super::{Foreign, Part};
use crate::datastore::dump::Proof;
use crate::engine::Stdin;
use crate::model::{Failure, Result};

/// The end mark of a dump is among so many last bytes.
const TAIL: usize = 4096;

pub(super) async fn prove(link: &Link<'_>, part: &Part, from: Box<dyn Read + Send>) -> Result<()> {
    let broken = |why: String| {
        Failure::environment(format!(
            "the dump `{}` of {} in service `{}` is not whole",
            part.file, link.what.kind, link.what.service
        ))
        .cause(why)
    };
    match &part.proof {
        Proof::ReadBy(command) => {
            let nowhere = &mut std::io::sink();
            let read = link.pour(command, Stdin::Reader(from), nowhere);
            let ended = read.await.map_err(|failure| match failure.kind {
                crate::model::Kind::Interrupted => failure,
                _ => broken(failure.to_string()),
            })?;
            match ended.code {
                0 => Ok(()),
                code if ended.stderr.trim().is_empty() => {
                    Err(broken(format!("`{}` ended with {code}", command[0])))
                }
                _ => Err(broken(ended.stderr.trim().to_owned())),
            }
        }
        Proof::Rdb => {
            let mut whole = Whole::new(from);
            tokio::task::block_in_place(|| std::io::copy(&mut whole, &mut std::io::sink()))
                .map(|_| ())
                .map_err(|e| broken(e.to_string()))
        }
        Proof::EndsWith(_) | Proof::Framed { .. } => {
            let ends = tokio::task::block_in_place(|| ends(from)).map_err(|e| broken(e.to_string()))?;
            proven(&part.proof, &ends).map_err(broken)
        }
    }
}

/// Both ends of what is read to its end, and how long it is.
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    bytes: u64,
}

fn ends(mut from: Box<dyn Read + Send>) -> std::io::Result<Ends> {
    let mut ends = Ends {
        head: Vec::new(),
        tail: Vec::new(),
        bytes: 0,
    };
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok(ends);
        }
        let bytes = &chunk[..read];
        let wanted = TAIL.saturating_sub(ends.head.len()).min(read);
        ends.head.extend_from_slice(&bytes[..wanted]);
        ends.tail.extend_from_slice(&bytes[read.saturating_sub(TAIL)..]);
        ends.tail.drain(..ends.tail.len().saturating_sub(TAIL));
        ends.bytes += read as u64;
    }
}

fn proven(proof: &Proof, ends: &Ends) -> Result<(), String> {
    if ends.bytes == 0 {
        return Err("it is empty".to_owned());
    }
    match proof {
        Proof::EndsWith(words) if !String::from_utf8_lossy(&ends.tail).contains(words) => {
            Err(format!("it does not end with `{words}`"))
        }
        Proof::Framed { begins, .. } if !ends.head.starts_with(begins) => {
            Err("it does not begin as it should".to_owned())
        }
        Proof::Framed { ends: last, .. } if !ends.tail.ends_with(last) => {
            Err("it does not end as it should".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether a file begins as what it is taken for.
pub(super) fn is_what_it_is_called(link: &Link<'_>, format: Foreign, head: &[u8]) -> Result<()> {
    if Foreign::recognise(link.what.kind, head) == Some(format) {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the file is no dump that {} in service `{}` could load",
        link.what.kind, link.what.service
    ))
    .data("nothing was changed"))
}
