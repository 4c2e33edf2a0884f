//! What a switch meets on its way: a helper that is killed, a storage that stops answering for a while, keys that are
//! refused from one moment to the next. It waits, or goes back; no upload is lost.

use std::fs::File;
use std::path::PathBuf;
use std::process::Child;

use super::site::{Side, Site};
use crate::support::{sh, wait_for};

/// A switch that is under way; what it says can be waited for.
struct UnderWay {
    child: Child,
    said: PathBuf,
}

impl UnderWay {
    fn begin(site: &Site, command: &str) -> Self {
        let said = site.stack.state.with_file_name("said");
        let child = site
            .stack
            .command(command, &[])
            .stdout(std::process::Stdio::null())
            .stderr(File::create(&said).expect("a file"))
            .spawn()
            .expect("started");
        Self { child, said }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).expect("read")
    }

    /// It has begun a step. The plan has the title too, before the run.
    #[track_caller]
    fn is_at(&self, title: &str) {
        wait_for(title, || self.said().contains(&format!("] {title}")));
    }

    #[track_caller]
    fn exits(mut self, code: i32) -> String {
        let status = self.child.wait().expect("ended");
        assert_eq!(status.code(), Some(code), "{}", self.said());
        self.said()
    }
}

/// Kills the helper of the step that runs, in the middle of what it does.
fn kill_the_helper(site: &Site) {
    let running = format!("docker ps -q --filter label=rehome.project={}", site.stack.name);
    let mut id = String::new();
    wait_for("a helper", || {
        id = sh(&running);
        !id.is_empty()
    });
    sh(&format!("docker kill -s KILL {id}"));
}

#[test]
fn a_helper_that_is_killed_takes_the_switch_back() {
    let site = Site::up();
    site.furnish(6);
    site.under_load(|| {
        // In the middle of the files, while the services use the volume.
        let run = UnderWay::begin(&site, "s3 enable -y");
        run.is_at("send media_volume to");
        kill_the_helper(&site);
        let said = run.exits(10);
        assert!(said.contains("use media_volume again"), "{said}");
        site.is_on(Side::Volume, "before the switch");

        // After the services use the bucket: what they stored there comes back.
        let run = UnderWay::begin(&site, "s3 enable -y");
        run.is_at("replace what changed of web2");
        let late = site.stack.volume_dir("media_volume").join("late");
        sh(&format!("head -c 6000000 /dev/urandom > {}", late.display()));
        run.is_at("send what was written to media_volume meanwhile");
        kill_the_helper(&site);
        let said = run.exits(10);
        assert!(
            said.contains("the services uploaded meanwhile are in media_volume now"),
            "{said}"
        );
        site.is_on(Side::Volume, "after the switch");
    });
    site.stack.assert_tidy();
}

#[test]
fn a_file_that_is_written_again_after_it_was_sent_is_sent_again() {
    let site = Site::up();
    let file = site.stack.volume_dir("media_volume").join("report.txt");
    std::fs::write(&file, "the first").expect("written");
    site.under_load(|| {
        let run = UnderWay::begin(&site, "s3 enable -y");
        // The object is a few seconds old, and the services use the volume still.
        run.is_at("set USE_S3=1");
        std::fs::write(&file, "the second").expect("written");
        run.exits(0);
    });
    site.is_on(Side::Bucket, "");
    assert_eq!(site.read("web1", "report.txt"), "the second");
}

#[test]
fn what_is_uploaded_during_a_long_first_pass_is_brought_as_well() {
    let site = Site::up();
    site.stack.rehome("s3 enable -y").exits(0);
    site.dies("s3 disable -y", "after-apply:0");
    site.under_load(|| {});
    // As if the first pass had taken hours: the switch comes long after those uploads.
    sh(&format!(
        "began=$(find {} -name first-pass-at) && date -u -d '+2 hours' +%FT%TZ > $(dirname $began)/switched-at",
        site.stack.state.display()
    ));
    site.stack.rehome("resume").exits(0);
    site.is_on(Side::Volume, "");
    site.stack.assert_tidy();
}

#[test]
fn a_storage_that_stops_answering_for_a_while_is_waited_for() {
    let site = Site::up();
    site.furnish(4);
    let pause = || {
        sh(&format!(
            "docker pause {c} && sleep 8 && docker unpause {c}",
            c = site.bucket.container()
        ))
    };
    site.under_load(|| {
        let run = UnderWay::begin(&site, "s3 enable -y");
        run.is_at("send media_volume to");
        pause();
        run.exits(0);
        site.is_on(Side::Bucket, "stopped while files are sent");
        // One replica still stores there, and its uploads wait as well.
        let run = UnderWay::begin(&site, "s3 disable -y");
        run.is_at("replace what changed of web2");
        pause();
        run.exits(0);
    });
    site.is_on(Side::Volume, "stopped while services are replaced");
    site.stack.assert_tidy();
}

#[test]
fn keys_that_are_refused_from_one_moment_to_the_next_take_the_switch_back() {
    let site = Site::behind_a_door();
    site.furnish(4);
    let stack = &site.stack;
    site.under_load(|| {
        let run = UnderWay::begin(&site, "s3 enable -y");
        run.is_at("send media_volume to");
        site.door(false);
        let said = run.exits(10);
        assert!(said.contains("InvalidAccessKeyId"), "{said}");
        site.is_on(Side::Volume, "before the switch");
        site.door(true);
    });
    // One replica uses the bucket by now: it refuses what it cannot store, and what it has stored cannot be fetched.
    site.while_uploading(|| {
        let run = UnderWay::begin(&site, "s3 enable -y");
        run.is_at("replace what changed of web2");
        site.door(false);
        let said = run.exits(12);
        assert!(
            said.contains("nothing is lost") && said.contains("rehome rollback"),
            "{said}"
        );
        assert_eq!(
            site.switch(),
            ["0", "0"],
            "the services do not wait for the bucket"
        );
        assert_eq!(stack.read(".env"), site.dotenv);
    });
    stack.rehome("rollback -y").exits(12);
    site.door(true);
    stack.rehome("rollback -y").exits(0);
    site.is_on(Side::Volume, "after the switch");
    stack.assert_tidy();
}
