//! Keeps what the stack wrote to a new home before the move went back: nothing that may be the only copy is removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::spec::{FROM, Moving, TO, Target, mount_of};
use super::world::{Cx, wrong_answer};
use crate::engine::HelperMount;
use crate::helper::protocol::{Answer, Place, Request};
use crate::model::{ByteSize, Failure, Result, VolumeKey};

/// The stack ran on the new home and may have written to it: what differs from the old home is set aside instead of
/// removed.
pub(super) async fn keep_what_was_written(cx: &Cx, moving: &Moving) -> Result<()> {
    if was_kept(&cx.run_dir, &moving.key)? {
        return Ok(());
    }
    let written = written_bytes(cx, moving).await?;
    let Some(bytes) = written else { return Ok(()) };
    match &moving.target {
        Target::Directory { root, sub, .. } => {
            let kept = kept_name(sub, cx.run.as_str());
            let mount = HelperMount::Bind { source: root.to_string_lossy().into_owned(), target: TO.into(), read_only: false };
            let request = Request::Rename { parent: TO.into(), from: sub.clone(), to: kept.clone() };
            cx.uninterrupted(request, vec![mount], "keep", Some(&moving.key)).await?;
            let place = root.join(kept);
            cx.events.warn(format!(
                "what the stack wrote to the new home of {} ({}) is kept in {}; remove it when you do not need it",
                moving.key,
                ByteSize(bytes),
                place.display()
            ));
        }
        Target::Volume { name } => cx.events.warn(format!(
            "what the stack wrote to the new home of {} ({}) is kept in volume {name}; remove it when you do not need it",
            moving.key,
            ByteSize(bytes)
        )),
    }
    mark_kept(&cx.run_dir, &moving.key)
}

/// How much was written to the new home; `None` if it is as the old one, or already gone.
async fn written_bytes(cx: &Cx, moving: &Moving) -> Result<Option<u64>> {
    let (target, path) = moving.target.mount(true);
    if let Target::Directory { sub, .. } = &moving.target {
        let request = Request::Probe {
            dir: TO.into(),
            below: vec![sub.clone()],
        };
        match cx
            .uninterrupted(request, vec![target.clone()], "probe", None)
            .await?
        {
            Answer::Probe(probe) if matches!(probe.below.first(), Some(Place::Missing)) => return Ok(None),
            Answer::Probe(_) => {}
            other => return Err(wrong_answer(&other)),
        }
    }
    if moving.fresh {
        let request = Request::Scan { dir: path };
        return match cx.uninterrupted(request, vec![target], "scan", None).await? {
            Answer::Scan(scan) => Ok((scan.files + scan.symlinks > 0).then_some(scan.bytes)),
            other => Err(wrong_answer(&other)),
        };
    }
    let source = mount_of((&moving.source, moving.site.as_ref()), FROM.into(), true);
    let request = Request::Compare {
        left: FROM.into(),
        right: path,
    };
    match cx
        .uninterrupted(request, vec![source, target], "compare", Some(&moving.key))
        .await?
    {
        Answer::Compare(report) => {
            Ok((report.added + report.removed + report.changed > 0).then_some(report.bytes))
        }
        other => Err(wrong_answer(&other)),
    }
}

fn kept_name(sub: &Path, run: &str) -> PathBuf {
    let mut name = sub.as_os_str().to_owned();
    name.push(format!(".kept-{run}"));
    PathBuf::from(name)
}

const KEPT: &str = "kept.json";

/// Whether the new home of a volume was set aside by the way back of this run.
pub(super) fn was_kept(run_dir: &Path, key: &VolumeKey) -> Result<bool> {
    Ok(read_kept(run_dir)?.contains(key))
}

fn read_kept(run_dir: &Path) -> Result<BTreeSet<VolumeKey>> {
    let path = run_dir.join(KEPT);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Failure::environment(format!("{} is damaged", path.display())).because(&e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(Failure::environment(format!("cannot read {}", path.display())).because(&error)),
    }
}

fn mark_kept(run_dir: &Path, key: &VolumeKey) -> Result<()> {
    let mut kept = read_kept(run_dir)?;
    kept.insert(key.clone());
    let text = serde_json::to_vec(&kept).map_err(|e| Failure::bug("cannot write names").because(&e))?;
    crate::state::write_durably(&run_dir.join(KEPT), &text)
}
