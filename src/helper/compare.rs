//! Says how two trees differ, in numbers: what was written to the new home since the old one was left.

use std::os::fd::AsFd as _;
use std::path::Path;

use super::context::Context;
use super::copy::Roots;
use super::crew::jobs;
use super::cursor::open_root;
use super::diff::{self, Finding, Pair};
use super::fault::{Fault, Result, Side, show};
use super::meta::{Grain, Kind};
use super::protocol::CompareReport;
use super::walk::{Manner, Walk, walk};

/// Paths that are named.
const SAMPLE: usize = 20;

/// Compares. Both trees may be in use meanwhile. Times of directories alone are no change: every file that comes or
/// goes leaves one.
///
/// # Errors
/// When a side cannot be read.
pub fn compare(cx: &Context, left: &Path, right: &Path) -> Result<CompareReport> {
    let open = |path| open_root(path).map_err(|errno| Fault::on_path("open", path, errno));
    let (from, to) = (open(left)?, open(right)?);
    let jobs = jobs(0);
    let tree = |root, side| {
        walk(
            cx,
            Walk {
                root,
                side,
                manner: Manner::Live,
                jobs,
            },
        )
    };
    let (left, right) = (
        tree(from.as_fd(), Side::Source)?,
        tree(to.as_fd(), Side::Destination)?,
    );
    let roots = Roots {
        from: from.as_fd(),
        from_device: left.root.dev,
        to: to.as_fd(),
        to_device: right.root.dev,
    };
    let findings = diff::compare(&Pair {
        cx,
        left: &left,
        right: &right,
        roots,
        owner: None,
        // After a move back it is the left that may have lost its nanoseconds.
        grain: Grain::measure(from.as_fd()).max(Grain::measure(to.as_fd())),
        known: None,
        directory_times: false,
        live: true,
        jobs,
    })?;
    let mut report = CompareReport::default();
    let mut paths = Vec::new();
    for found in findings.wrong {
        let counter = match found.finding {
            Finding::Missing => &mut report.removed,
            Finding::Extra => &mut report.added,
            Finding::Different(_) => &mut report.changed,
        };
        *counter += 1;
        if let Some(id) = found.right {
            let meta = right.entry(id).meta;
            if meta.kind == Kind::File && !right.is_link(id) {
                report.bytes += meta.size;
            }
        }
        paths.push(match found.right {
            Some(id) => right.path(id),
            None => found.id.map(|id| left.path(id)).unwrap_or_default(),
        });
    }
    paths.sort_unstable();
    report.sample = paths.iter().take(SAMPLE).map(|path| show(path)).collect();
    Ok(report)
}
