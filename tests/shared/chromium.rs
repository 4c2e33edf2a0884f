//! Drives Debian's chromium for the tests of the dashboard: `drive.mjs` beside this says what each task is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

/// What `scripts/browser up` says: the browser, and where the modules are.
fn installed() -> &'static (String, String) {
    static INSTALLED: OnceLock<(String, String)> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/browser");
        let output = Command::new(script).arg("up").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let told = String::from_utf8(output.stdout).unwrap();
        let value = |name: &str| {
            let prefix = format!("export {name}=");
            let line = told.lines().find_map(|line| line.strip_prefix(&prefix));
            line.unwrap_or_else(|| panic!("scripts/browser does not say {name}"))
                .to_owned()
        };
        (value("REHOME_BROWSER"), value("REHOME_BROWSER_MODULES"))
    })
}

/// Where screenshots are kept: beside what cargo makes.
fn screens() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("screens");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Carries a task out, and says what was seen.
#[track_caller]
pub fn drive(task: &str, address: &str, more: Value) -> Value {
    let (browser, modules) = installed();
    let wanted = json!({
        "task": task,
        "address": address,
        "browser": browser,
        "modules": modules,
        "screens": screens(),
        "more": more,
    });
    let output = Command::new("timeout")
        .args(["--kill-after=5", "300", "node"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/drive.mjs"))
        .arg(wanted.to_string())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
