//! "As it was before": taken before a run that must change nothing, and compared afterwards.

use std::collections::BTreeMap;

use crate::support::{Stack, sh};

/// What a stack is like: containers, mounts, files, data.
pub struct Before {
    shape: BTreeMap<String, String>,
    running: Vec<String>,
    files: Vec<(String, String)>,
}

impl Before {
    /// Looks at a stack. Its source may be written to meanwhile: what is in it is compared by whoever knows what was
    /// written.
    pub fn of(stack: &Stack) -> Self {
        let files = [
            ".env",
            "docker-compose.yml",
            "docker-compose.block.yml",
            "rehome.yml",
        ];
        Self {
            shape: stack.shape(),
            running: stack.running(),
            files: files.iter().map(|f| ((*f).to_owned(), stack.read(f))).collect(),
        }
    }

    /// Everything is as it was, and nothing of the run is left.
    #[track_caller]
    pub fn assert_same(&self, stack: &Stack) {
        assert_eq!(
            stack.shape(),
            self.shape,
            "containers, their state, image or mounts differ"
        );
        assert_eq!(stack.running(), self.running, "other services run");
        for (name, text) in &self.files {
            assert_eq!(&stack.read(name), text, "{name} was changed");
        }
        let definitions = sh("docker volume ls -q");
        let of_run: Vec<_> = definitions
            .lines()
            .filter(|v| v.starts_with(&format!("{}_data_block_", stack.name)))
            .collect();
        assert!(of_run.is_empty(), "a volume definition is left: {of_run:?}");
        stack.assert_tidy();
    }
}
