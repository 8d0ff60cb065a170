//! The documents that are made from the table of settings.

use super::settings;

/// `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         This page is made from the table of settings in `crates/server/src/config/table.rs`.\n\n\
         Flags win over the environment, the environment over the file (`--config FILE` or\n\
         `KVORUM_CONFIG`), the file over the defaults. In the environment a name of our own wins\n\
         over the others. `kvorum config check` prints every setting with its value and where\n\
         that came from; [kvorum.example.toml](kvorum.example.toml) is a file with all of them.\n\
         Sizes take `KiB`, `MiB`, `GiB`.\n\n\
         | setting | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for setting in settings() {
        let names: Vec<String> = setting.environment().map(|name| format!("`{name}`")).collect();
        let default = match setting.default {
            "" => "none".to_owned(),
            words if words.contains(' ') => words.to_owned(),
            value => format!("`{value}`"),
        };
        let (name, names, help) = (setting.name, names.join(", "), setting.help);
        text += &format!("| `{name}` | {names} | {default} | {help} |\n");
    }
    text
}

/// `docs/kvorum.example.toml`: every setting at its default, commented out.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of a kvorum node. Each stands here with its default; remove the # to change it.\n\
         # Start the node with `kvorum server --config kvorum.toml`.\n",
    );
    for setting in settings() {
        text.push('\n');
        for line in wrapped(setting.help) {
            text += &format!("# {line}\n");
        }
        let (name, default) = (setting.name, setting.default);
        let bare = default.parse::<u64>().is_ok() || default.parse::<bool>().is_ok();
        if bare {
            text += &format!("#{name} = {default}\n");
        } else if default.contains(' ') || default.contains('{') {
            text += &format!("# Default: {default}.\n#{name} = \"\"\n");
        } else {
            text += &format!("#{name} = \"{default}\"\n");
        }
    }
    text
}

/// A text in lines of at most 96 characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= 96 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
