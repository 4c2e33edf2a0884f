//! Which of the attached volumes is meant.

use std::path::Path;

use crate::model::{Failure, Result, shell_path};
use crate::observe::Candidate;

/// Chooses the volume for `--device auto`: the one that is mounted at `at` already, or the one that nothing uses.
///
/// # Errors
/// When there is none, or more than one: nobody guesses which.
pub fn choose<'a>(candidates: &'a [Candidate], at: &Path) -> Result<&'a Candidate> {
    if let Some(there) = candidates
        .iter()
        .find(|one| one.mounted.iter().any(|point| point == at))
    {
        if there.attached.ends_with_the_machine {
            return Err(ends_with_the_machine(name_of(there)));
        }
        return Ok(there);
    }
    let free: Vec<_> = candidates
        .iter()
        .filter(|one| !one.in_use && !one.attached.ends_with_the_machine)
        .collect();
    let told = |failure: Failure| {
        candidates
            .iter()
            .fold(failure, |failure, one| failure.cause(describe(one)))
    };
    match free.as_slice() {
        [only] => Ok(only),
        [] if candidates.is_empty() => Err(Failure::refused(
            "no volume of a cloud is attached to this machine",
        )
        .cause("none of the names below /dev/disk that clouds give their volumes is there")
        .data("nothing was changed")
        .hint("attach the volume at the provider, or name the device yourself: --device /dev/disk/by-id/…")),
        [] => Err(told(Failure::refused("no attached volume is free"))
            .data("nothing was changed")
            .hint("attach another volume, or name the device yourself: --device /dev/disk/by-id/…")),
        several => Err(told(Failure::refused(format!(
            "{} attached volumes are free, and none is chosen for you",
            several.len()
        )))
        .data("nothing was changed")
        .hint(format!(
            "name the one you mean: --device {}",
            shell_path(name_of(several[0]))
        ))),
    }
}

/// A disk of the host is no place for data that is to outlive it.
#[must_use]
pub fn ends_with_the_machine(name: &Path) -> Failure {
    Failure::refused(format!("{} is a disk of the host, no volume", name.display()))
        .cause("what is on it is gone when the machine is stopped or moved to another host")
        .data("nothing was changed")
        .hint("attach a block volume, and name that")
}

/// The link that people know a volume by.
#[must_use]
pub fn name_of(candidate: &Candidate) -> &Path {
    candidate
        .attached
        .links
        .first()
        .map_or(&candidate.attached.device.node, |link| link)
}

/// A line about a volume: name, size, content.
fn describe(one: &Candidate) -> String {
    let mut words = vec![one.attached.provider.to_string()];
    words.extend(one.size.map(|size| size.to_string()));
    if one.attached.ends_with_the_machine {
        words.push("a disk of the host: what is on it is gone when the machine is stopped".to_owned());
    }
    if one.words.is_empty() {
        words.push("nothing recognised on it".to_owned());
    }
    words.extend(one.words.iter().cloned());
    format!("{}: {}", name_of(one).display(), words.join(", "))
}
