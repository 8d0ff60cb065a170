//! The sections of the page of benchmarks, each written by one command.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a section of `docs/benchmarks.md` below `root`; the others stay as they are.
pub(super) fn write(root: &Path, heading: &str, text: &str) -> Result<()> {
    let path = root.join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    fs::write(&path, replaced(&page, heading, text))
        .with_context(|| format!("writing {}", path.display()))
}

/// What follows the first part of the page: all sections.
pub(super) fn all(page: &str) -> &str {
    page.find("\n## ").and_then(|at| page.get(at..)).unwrap_or_default()
}

/// The page with a section replaced, or added at its end.
fn replaced(page: &str, heading: &str, text: &str) -> String {
    let title = format!("\n## {heading}\n");
    let section = format!("{title}\n{}\n", text.trim());
    let Some((before, rest)) = page.split_once(&title) else {
        return format!("{}\n{section}", page.trim_end());
    };
    format!("{before}{section}{}", all(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_added_and_replaced_and_the_others_stay() {
        let page = "# Page\n\nfirst\n";
        let one = replaced(page, "One", "1\n");
        assert_eq!(one, "# Page\n\nfirst\n\n## One\n\n1\n");
        let two = replaced(&one, "Two", "2");
        assert_eq!(replaced(&two, "One", "1b"), "# Page\n\nfirst\n\n## One\n\n1b\n\n## Two\n\n2\n");
        assert_eq!(all(&two), "\n## One\n\n1\n\n## Two\n\n2\n");
        assert_eq!(all(page), "");
    }
}
