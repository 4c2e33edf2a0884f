//! `scripts/ledger` in short: there and back under write load, compared with what the site acknowledged.
//! `scripts/campaign` runs it in full.

use std::path::{Path, PathBuf};

use crate::support::{sh, try_sh, unique};

const MOVES: usize = 2;

/// A run of the script, which takes away what a difference left when the test ends.
struct Ledger(PathBuf);

impl Ledger {
    /// The command with settings of its own.
    fn script(&self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ledger");
        format!(
            "LEDGER={} HTTP_PORT=0 MOVES={MOVES} BINARY={} {}",
            self.0.display(),
            env!("CARGO_BIN_EXE_rehome"),
            script.display()
        )
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        sh(&format!("{} clean", self.script()));
    }
}

#[test]
fn moves_under_write_load_lose_nothing_that_was_acknowledged() {
    let ledger = Ledger(std::env::temp_dir().join(format!("rehome-e2e-ledger{}", unique())));
    let output = try_sh(&ledger.script());
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}:\n{told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        told.matches("as in the ledger  checksums ok").count(),
        MOVES,
        "{told}"
    );
    assert!(!ledger.0.exists(), "it does not clean up after itself");
}
