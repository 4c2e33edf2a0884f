//! The README is true: its commands run, one after the other, and its links lead somewhere.

use std::path::Path;

use crate::stacks::small_up;
use crate::support::{Block, sh};

const README: &str = include_str!("../../README.md");

/// The commands of one of the blocks of the section "Use it", without their comments.
fn commands(block: usize) -> Vec<&'static str> {
    let section = README.split("\n## Use it\n").nth(1).expect("the section");
    let block = section
        .split("```console\n")
        .nth(1 + block)
        .and_then(|rest| rest.split("```").next())
        .expect("its block");
    block
        .lines()
        .map(|line| {
            let command = line.strip_prefix("$ rehome ").expect("a command a line");
            command.split(" # ").next().unwrap_or(command).trim()
        })
        .collect()
}

#[test]
fn the_commands_of_the_readme_run_one_after_the_other() {
    let block = Block::ext4(400);
    let stack = small_up();
    sh(&format!("rm {}/rehome.yml", stack.dir.display()));
    // The first steps are taken from an empty device on in `volume`; what they are is held to that here.
    let first = ["size", "mount --at /mnt/data", "move --to /mnt/data", "doctor"];
    assert_eq!(commands(0), first);
    stack.rehome(first[0]).exits(0);
    let commands = commands(1);
    assert!(commands.len() >= 9, "{commands:?}");
    let mut there = false;
    for command in commands {
        stack.rehome(&command.replace("/mnt/data", block.path())).exits(0);
        if command.starts_with("move") && !command.contains("--dry-run") {
            let back = command.contains("--to volumes");
            assert_eq!(
                stack.mounted("app", "/data").contains("_block_"),
                !back,
                "after {command}"
            );
            there |= !back;
        }
    }
    assert!(there, "the README moves there and back");
    assert_eq!(stack.running(), ["app", "side", "web"]);
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = 0;
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/ARCHITECTURE.md",
        "docs/DEPLOY.md",
    ] {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            links += 1;
            let file = path.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(file.exists(), "{document} links to {target}, which is not there");
        }
    }
    assert!(links >= 4, "only {links} links were found");
}
