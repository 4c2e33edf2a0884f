//! Writing a rehome.yml that explains itself.

use super::{Block, Check, Config, Hook, Hooks, How, OnFailure, span_text};

/// A rehome.yml with comments; it reads back as the same configuration.
#[must_use]
pub fn write_commented(findings: &Config) -> String {
    let mut out = String::from(
        "# Settings of Rehome for this project. All of it may be left out: what is not said is detected.\n\
         # What may be here: rehome config schema. What is in effect: rehome config show.\n",
    );
    line(&mut out, 0, &format!("version: {}", findings.version));
    block(&mut out, &findings.block);
    hooks(&mut out, findings.hooks.as_ref());
    checks(&mut out, &findings.checks);
    if let Some(timeout) = findings.stop_timeout {
        out.push_str("\n# How long a service may take to stop.\n");
        line(&mut out, 0, &format!("stop_timeout: {}", span_text(timeout)));
    }
    let deploy = (!findings.deploy.is_default()).then_some(&findings.deploy);
    plain(&mut out, "deploy", "How it is deployed.", deploy);
    let variants = (!findings.variants.is_empty()).then_some(&findings.variants);
    plain(
        &mut out,
        "variants",
        "Compose files that belong to the project only under a condition.",
        variants,
    );
    let notify = (!findings.notify.is_empty()).then_some(&findings.notify);
    plain(
        &mut out,
        "notify",
        "Who is told of deployments and backups.",
        notify,
    );
    let root = findings.data_root.as_ref();
    plain(
        &mut out,
        "data_root",
        "The directory that holds those of sites.",
        root,
    );
    let s3 = (!findings.s3.is_default()).then_some(&findings.s3);
    plain(&mut out, "s3", "Uploads in S3-compatible storage.", s3);
    let backup = (!findings.backup.is_default()).then_some(&findings.backup);
    plain(&mut out, "backup", "Backups: where to, how long, when.", backup);
    out
}

fn line(out: &mut String, indent: usize, text: &str) {
    out.push_str(&" ".repeat(indent));
    out.push_str(text);
    out.push('\n');
}

fn block(out: &mut String, block: &Block) {
    out.push_str("\n# Where volumes live on block storage.\n");
    if block.is_empty() {
        out.push_str("# block:\n#   root: /mnt/data\n");
        return;
    }
    line(out, 0, "block:");
    line(
        out,
        2,
        "# The directory on the mounted block volume; rehome move goes there without --to.",
    );
    match &block.root {
        Some(root) => line(out, 2, &format!("root: {}", scalar(&root.to_string_lossy()))),
        None => line(out, 2, "# root: /mnt/data"),
    }
    if let Some(file) = &block.override_file {
        line(
            out,
            2,
            "# The Compose file that points the volumes there; Rehome writes it.",
        );
        line(out, 2, &format!("override: {}", scalar(&file.to_string_lossy())));
    }
    if !block.volumes.is_empty() {
        line(
            out,
            2,
            "# By volume: its directory below the root, and its owner if it shall change.",
        );
        line(out, 2, "volumes:");
    }
    for (key, volume) in &block.volumes {
        let mut parts = Vec::new();
        if let Some(path) = &volume.path {
            parts.push(format!("path: {}", scalar(path.as_str())));
        }
        if let Some(owner) = &volume.owner {
            parts.push(format!("owner: \"{owner}\""));
        }
        let value = match parts.as_slice() {
            [] => "{}".to_owned(),
            parts => format!("{{ {} }}", parts.join(", ")),
        };
        line(out, 4, &format!("{}: {value}", scalar(key.as_str())));
    }
    if !block.exclude.is_empty() {
        line(out, 2, "# These stay where they are.");
        let keys: Vec<_> = block.exclude.iter().map(|key| scalar(key.as_str())).collect();
        line(out, 2, &format!("exclude: [{}]", keys.join(", ")));
    }
}

fn hooks(out: &mut String, hooks: Option<&Hooks>) {
    out.push_str(
        "\n# What runs in the services after they started (and before_pull, before_start, after_healthy, on_failure,\n\
         # after_finish of a deployment); `after_start: []` for nothing.\n",
    );
    let Some(hooks) = hooks else {
        out.push_str("# hooks:\n#   after_start: []\n");
        return;
    };
    line(out, 0, "hooks:");
    if hooks.by_phase().iter().any(|(_, of_it)| !of_it.is_empty()) {
        line(out, 2, "# on_failure: stop (it goes back), warn, ignore");
    }
    for (phase, of_it) in hooks.by_phase() {
        match of_it {
            [] if phase == "after_start" => line(out, 2, "after_start: []"),
            [] => {}
            of_it => {
                line(out, 2, &format!("{phase}:"));
                for hook in of_it {
                    line(out, 4, &format!("- {{ {} }}", hook_text(hook)));
                }
            }
        }
    }
}

fn hook_text(hook: &Hook) -> String {
    let mut parts = Vec::new();
    if let Some(service) = &hook.service {
        parts.push(format!("service: {}", scalar(service.as_str())));
    }
    parts.push(format!("run: {}", words(&hook.run)));
    if hook.how == How::Run {
        parts.push("how: run".to_owned());
    }
    if let Some(user) = &hook.user {
        parts.push(format!("user: {}", quoted(user)));
    }
    if let Some(dir) = &hook.dir {
        parts.push(format!("dir: {}", quoted(dir)));
    }
    if !hook.env.is_empty() {
        parts.push(format!("env: {}", words(&hook.env)));
    }
    if let Some(timeout) = hook.timeout {
        parts.push(format!("timeout: {}", span_text(timeout)));
    }
    match hook.on_failure {
        OnFailure::Stop => {}
        OnFailure::Warn => parts.push("on_failure: warn".to_owned()),
        OnFailure::Ignore => parts.push("on_failure: ignore".to_owned()),
    }
    parts.join(", ")
}

fn checks(out: &mut String, checks: &[Check]) {
    out.push_str(
        "\n# What must be so before a move or a deployment counts as done, asked from inside the service, or from this\n\
         # machine if none is named: http (status, body), tcp, command (code), log_free_of, file.\n",
    );
    if checks.is_empty() {
        out.push_str(
            "# checks:\n#   - { service: web, http: \"http://localhost:8000/health/\", within: 60s }\n",
        );
        return;
    }
    line(out, 0, "checks:");
    for check in checks {
        line(out, 2, &format!("- {{ {} }}", check_text(check)));
    }
}

fn check_text(check: &Check) -> String {
    let texts = [
        ("service", check.service.as_ref().map(|s| scalar(s.as_str()))),
        ("http", check.http.as_deref().map(quoted)),
        ("status", check.status.map(|status| status.to_string())),
        ("body", check.body.as_deref().map(quoted)),
        ("tcp", check.tcp.map(|port| port.to_string())),
        ("command", check.command.as_deref().map(words)),
        ("code", check.code.map(|code| code.to_string())),
        ("log_free_of", check.log_free_of.as_deref().map(quoted)),
        ("file", check.file.as_deref().map(quoted)),
        ("within", check.within.map(span_text)),
    ];
    let said: Vec<String> = texts
        .into_iter()
        .filter_map(|(key, text)| Some(format!("{key}: {}", text?)))
        .collect();
    said.join(", ")
}

fn words(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(", "))
}

/// What has no comments of its own, as it is written by the library.
fn plain<T: serde::Serialize>(out: &mut String, key: &str, why: &str, value: Option<&T>) {
    let value = value.and_then(|value| serde_json::to_value(value).ok());
    let Some(text) = value.and_then(|value| serde_yaml::to_string(&value).ok()) else {
        return;
    };
    line(out, 0, &format!("\n# {why}\n{key}:"));
    for part in text.lines() {
        line(out, if part.is_empty() { 0 } else { 2 }, part);
    }
}

/// Plain where nobody could read it as something else, quoted otherwise.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// A double-quoted YAML scalar: JSON's escapes, and those of the characters that YAML does not allow raw.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
