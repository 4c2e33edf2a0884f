//! The example stack with thousands of uploads, moved there and back while somebody uploads all the time.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use crate::stacks::example;
use crate::support::{Block, Stack, sh, wait_for};

/// How many uploads there are before the first move.
const UPLOADS: usize = 5000;

/// Somebody who uploads all the time, and begins again whenever the site was away. A number is written down when its
/// row and its file are committed.
struct Load {
    process: Child,
    log: std::path::PathBuf,
}

impl Load {
    fn start(stack: &Stack) -> Self {
        let log = stack.state.with_file_name("committed");
        // A group of its own, so that all of it can be ended.
        let process = std::process::Command::new("setsid")
            .args(["bash", "-c"])
            .arg(
                "while true; do docker compose exec -T api python manage.py load --seconds 600 --size-kb 16 2>/dev/null; done",
            )
            .current_dir(&stack.dir)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, log }
    }

    /// The numbers so far. A torn last line is none.
    fn committed(&self) -> BTreeSet<u64> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect()
    }

    /// Waits until so many more are committed.
    #[track_caller]
    fn goes_on(&self, more: usize) {
        let now = self.committed().len();
        wait_for("uploads", || self.committed().len() >= now + more);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        sh(&format!("kill -- -{}", self.process.id()));
        self.process.wait().unwrap();
    }
}

/// Every row that was committed is there, and every file is what its row says.
#[track_caller]
fn assert_nothing_lost(stack: &Stack, committed: &BTreeSet<u64>) {
    let rows = stack.exec(
        "db",
        "psql -tAX -U postgres -d kmsconnect -c \"select applicant_id from records_document\"",
    );
    let rows: BTreeSet<u64> = rows.lines().map(|id| id.parse().unwrap()).collect();
    let lost: Vec<_> = committed.difference(&rows).collect();
    assert!(lost.is_empty(), "committed and lost: {lost:?}");
    assert!(rows.len() >= UPLOADS + committed.len());
    // Reads every file and compares it with the checksum in its row; fails when one is missing or another.
    let sum = stack.exec("api", "python manage.py checksum");
    let ok = sum.split_once("files_ok=").expect("a sum").1;
    assert!(
        ok.trim().parse::<usize>().unwrap() >= UPLOADS + committed.len(),
        "{sum}"
    );
}

#[test]
fn five_thousand_uploads_under_a_steady_load_there_and_back() {
    let block = Block::ext4(1000);
    let stack = example();
    stack.exec("api", &format!("python manage.py seed {UPLOADS} --size-kb 8"));
    let services = stack.running();
    let load = Load::start(&stack);
    load.goes_on(20);

    for (to, block_home) in [(block.path(), true), ("volumes", false)] {
        let run = stack.rehome(&format!("move --to {to} -y")).exits(0);
        assert!(run.err.contains("shut down"), "{}", run.err);
        load.goes_on(20);
        assert_nothing_lost(&stack, &load.committed());
        assert_eq!(stack.running(), services);
        for (service, target) in [
            ("db", "/var/lib/postgresql/data"),
            ("api", "/app/media"),
            ("celery", "/app/media"),
            ("nginx", "/srv/media"),
            ("nginx", "/srv/static"),
        ] {
            let home = stack.mounted(service, target);
            assert_eq!(home.contains("_block_"), block_home, "{service}: {home}");
        }
        assert!(stack.mounted("redis", "/data").ends_with("_redis_data"));
        let health = stack.exec("nginx", "curl -fsS http://localhost/health/");
        assert!(health.contains("ok"), "{health}");
    }
    drop(load);
    stack.assert_tidy();
}
