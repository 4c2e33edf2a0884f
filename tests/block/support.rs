//! Loop devices, other programs, and what they say.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rehome::block::device::by_path;
use rehome::block::opened::Opened;
use rehome::block::probe::{self, Content};
use rehome::block::sysroot::Sysroot;
use rehome::model::Result;
use tempfile::TempDir;

/// Runs a line of bash with `$1`, `$2`, … ; it must succeed. Returns its stdout without the last newline.
#[track_caller]
pub fn bash(line: &str, args: &[&dyn AsRef<OsStr>]) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", line, "bash"])
        .args(args.iter().map(|arg| arg.as_ref()))
        .env("LC_ALL", "C")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

const SUM: &str = r#"
import errno, hashlib, os, sys
BLOCK = 1 << 20
file = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(file).st_size
sum = hashlib.sha256(b'%d' % size)
zeroes = bytes(BLOCK)
at = 0
while at < size:
    try:
        data = os.lseek(file, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            break
        raise
    at = data - data % BLOCK
    block = os.pread(file, BLOCK, at)
    assert len(block) == min(BLOCK, size - at)
    if block != zeroes[:len(block)]:
        sum.update(b'%d:' % at + block)
    at += BLOCK
print(sum.hexdigest())
"#;

/// A loop device over a sparse file.
pub struct Loop {
    pub dir: TempDir,
    pub image: PathBuf,
    pub node: PathBuf,
}

impl Loop {
    /// Of a size, and what a line of bash puts into the image `$1`.
    #[track_caller]
    pub fn of(size: &str, make: &str) -> Self {
        Self::with(size, make, "")
    }

    /// With other options of losetup(8).
    #[track_caller]
    pub fn with(size: &str, make: &str, options: &str) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let image = dir.path().join("image");
        bash("truncate -s \"$2\" \"$1\"", &[&image, &size]);
        bash(make, &[&image]);
        let node = bash(&format!("losetup --find --show {options} \"$1\""), &[&image]);
        Self {
            dir,
            image,
            node: node.into(),
        }
    }

    pub async fn open(&self) -> Result<Opened> {
        open(&self.node).await
    }

    /// A checksum of every byte of the file behind it, after everything was written there. Python, because it need not
    /// hash gigabytes of holes and zeroes; where what is not zero lies is part of the sum.
    #[track_caller]
    pub fn sum(&self) -> String {
        bash(
            "sync \"$1\"; python3 -c \"$3\" \"$2\"",
            &[&self.node, &self.image, &SUM],
        )
    }

    /// Opens and looks.
    pub async fn look(&self) -> String {
        said(&look(&self.open().await.unwrap()).await)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        bash("losetup --detach \"$1\"", &[&self.node]);
    }
}

pub async fn open(node: &Path) -> Result<Opened> {
    Opened::open(by_path(&Sysroot::new(None), node)?).await
}

pub async fn look(opened: &Opened) -> Content {
    probe::look(opened, false, &mut |_, _| {}).await
}

/// The answer in one line.
pub fn said(content: &Content) -> String {
    match content {
        Content::Empty(proof) => format!("empty: {} bytes read", proof.read()),
        Content::NotEmpty(found) => {
            let words: Vec<_> = found.iter().map(ToString::to_string).collect();
            format!("not empty: {}", words.join("; "))
        }
        Content::CannotTell(doubts) => format!("cannot tell: {}", doubts.join("; ")),
    }
}

/// What a refusal says, in one line.
pub fn words(failure: &rehome::model::Failure) -> String {
    format!("{}: {}", failure.what, failure.causes.join("; "))
}
