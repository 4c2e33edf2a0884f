//! Proves that the destination is the source: every entry of both trees, nothing more and nothing less.

use std::os::fd::AsFd as _;

use super::context::Context;
use super::copy::{Roots, stat_root};
use super::crew::jobs;
use super::cursor::open_root;
use super::diff::{self, Finding, Findings, Pair};
use super::fault::{Fault, Result, Side, show};
use super::known::known;
use super::meta::{Grain, Kind};
use super::protocol::{FailClass, VerifyReport, VerifyRequest};
use super::walk::{Manner, Walk, walk};

/// Differences that are named; the rest is counted.
const NAMED: usize = 20;

/// Verifies.
///
/// # Errors
/// When anything differs, with the first differences by path; when a side cannot be read or changes meanwhile.
pub fn verify(cx: &Context, request: &VerifyRequest) -> Result<VerifyReport> {
    let open = |path| open_root(path).map_err(|errno| Fault::on_path("open", path, errno));
    let (from, to) = (open(&request.from)?, open(&request.to)?);
    let jobs = jobs(request.jobs);
    rustix::fs::syncfs(&from).map_err(|errno| Fault::io(Side::Source, "sync", b"", errno))?;
    let tree = |root, side| {
        walk(
            cx,
            Walk {
                root,
                side,
                manner: Manner::Still,
                jobs,
            },
        )
    };
    let left = tree(from.as_fd(), Side::Source)?;
    let right = tree(to.as_fd(), Side::Destination)?;
    let known = if request.full {
        None
    } else {
        Some(known(cx, &request.manifest, &left)?.files)
    };
    let pair = Pair {
        cx,
        left: &left,
        right: &right,
        roots: Roots {
            from: from.as_fd(),
            from_device: left.root.dev,
            to: to.as_fd(),
            to_device: stat_root(&to, Side::Destination)?.dev,
        },
        owner: request.owner,
        grain: Grain::measure(to.as_fd()),
        known: known.as_ref(),
        directory_times: true,
        live: false,
        jobs,
    };
    report(&pair, diff::compare(&pair)?)
}

fn report(pair: &Pair<'_>, findings: Findings) -> Result<VerifyReport> {
    let Findings { same, wrong } = findings;
    let mut wrong: Vec<(Vec<u8>, String)> = wrong
        .into_iter()
        .map(|found| {
            let left = || found.id.map(|id| pair.left.path(id)).unwrap_or_default();
            match found.finding {
                Finding::Missing => (left(), "missing at the destination".to_owned()),
                Finding::Extra => {
                    let path = found.right.map(|id| pair.right.path(id)).unwrap_or_default();
                    (path, "only at the destination".to_owned())
                }
                Finding::Different(what) => (left(), what),
            }
        })
        .collect();
    if !wrong.is_empty() {
        wrong.sort_unstable();
        let mut named: Vec<String> = wrong
            .iter()
            .take(NAMED)
            .map(|(path, what)| format!("{}: {what}", show(path)))
            .collect();
        if wrong.len() > NAMED {
            named.push(format!("and {} more", wrong.len() - NAMED));
        }
        let entries = if wrong.len() == 1 {
            "1 entry differs"
        } else {
            &format!("{} entries differ", wrong.len())
        };
        let what = format!("the destination is not the source: {entries}");
        return Err(Fault::new(FailClass::Differs, what, named.join("; ")));
    }
    let sockets = pair
        .left
        .entries()
        .filter(|(_, entry)| entry.meta.kind == Kind::Socket);
    let wanted = pair.left.len() + 1 - sockets.count() as u64;
    if same.entries != wanted {
        // Every entry has a finding and none of them is a difference: this guards that claim.
        return Err(Fault::new(
            FailClass::Other,
            format!("{} of {wanted} entries were compared", same.entries),
            "a bug in the comparison",
        ));
    }
    Ok(VerifyReport {
        files: same.files,
        bytes: same.bytes,
        dirs: same.dirs,
        symlinks: same.symlinks,
        hard_links: same.hard_links,
        special: same.special,
        xattrs: same.xattrs,
        digest: same.hex(),
    })
}
