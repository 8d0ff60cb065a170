//! What the rules report.

use std::fmt;

/// A place where a rule is violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule.
    pub rule: &'static str,
    /// What was found there.
    pub found: String,
    /// What to do about it.
    pub fix: String,
}

impl Violation {
    /// The place as `file:line`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.path, self.line)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.found)?;
        write!(f, "\n    fix: {}", self.fix)
    }
}

/// Collects violations; the rule that is running is named once, in [`Report::begin`].
#[derive(Debug, Default)]
pub struct Report {
    rule: &'static str,
    violations: Vec<Violation>,
}

impl Report {
    /// Everything added from now on belongs to `rule`.
    pub const fn begin(&mut self, rule: &'static str) {
        self.rule = rule;
    }

    /// Adds a violation at `line` (from 1) of `path`.
    pub fn add(
        &mut self,
        path: &str,
        line: usize,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.violations.push(Violation {
            path: path.to_owned(),
            line,
            rule: self.rule,
            found: found.into(),
            fix: fix.into(),
        });
    }

    /// Everything that was added.
    #[must_use]
    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}
