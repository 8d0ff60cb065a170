//! Tests that hide or guess: ignored ones, and ones that wait by sleeping.

use super::source::names_path;
use super::{Report, Rule, Source, Tree};

/// No test is ignored.
#[derive(Debug)]
pub struct IgnoredTests;

impl Rule for IgnoredTests {
    fn name(&self) -> &'static str {
        "ignored-tests"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for (file, source) in tree.sources("") {
            for (line, code) in source.code() {
                let compact: String = code.split_whitespace().collect();
                if compact.contains("#[ignore]") || compact.contains("#[ignore=") {
                    let fix =
                        "mend it or delete it; a slow one becomes a simulation with more seeds";
                    report.add(&file.path, line, "an ignored test proves nothing", fix);
                }
            }
        }
    }
}

/// Tests wait for what they need, not for time to pass.
///
/// The few that watch real processes may poll: the sleep carries a comment that begins with
/// [`ALLOWANCE`] and gives the reason, on its line or up to two lines above.
#[derive(Debug)]
pub struct Sleeps;

const ALLOWANCE: &str = "Sleep, because";

/// Where real processes and sockets leave nothing better than polling.
const POLLERS: [&str; 4] = ["tests/e2e/", "crates/node/", "crates/server/", "crates/kvorum/"];

impl Rule for Sleeps {
    fn name(&self) -> &'static str {
        "sleeps"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for (file, source) in tree.sources("") {
            let poller = POLLERS.iter().any(|place| file.path.starts_with(place));
            for (line, code) in source.code().filter(|(line, _)| source.is_test(*line)) {
                let sleeps = ["thread::sleep", "time::sleep", "sleep_ms", "sleep_until"];
                let calls = sleeps.iter().any(|name| names_path(code, name));
                let imports = code.trim_start().starts_with("use ");
                if calls && !imports && !(poller && has_reason(source, line)) {
                    let fix = format!(
                        "wait for the event itself (a reply, a channel, a line of output); where \
                         real processes are watched, poll and say why: `// {ALLOWANCE} …`"
                    );
                    report.add(&file.path, line, "a test sleeps", fix);
                }
            }
        }
    }
}

fn has_reason(source: &Source, line: usize) -> bool {
    let near = line.saturating_sub(2)..=line;
    source.comments().any(|(at, comment)| near.contains(&at) && comment.contains(ALLOWANCE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn an_ignored_test_is_reported() {
        let text = "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n";
        assert_eq!(violations_of(&IgnoredTests, &[("crates/a/src/b.rs", text)]).len(), 1);
    }

    #[test]
    fn a_test_that_sleeps_is_reported() {
        let text = "#[cfg(test)]\nmod tests {\n    fn a() { std::thread::sleep(x); }\n}\n";
        let seen = violations_of(&Sleeps, &[("crates/shard/src/b.rs", text)]);
        assert_eq!(seen, ["crates/shard/src/b.rs:3"]);
    }

    #[test]
    fn product_code_may_sleep() {
        let text = "fn a() { tokio::time::sleep(x); }\n";
        assert!(violations_of(&Sleeps, &[("crates/node/src/b.rs", text)]).is_empty());
    }

    #[test]
    fn only_tests_of_real_processes_may_poll_and_only_with_a_reason() {
        let with_reason = "// Sleep, because a stopped process tells nobody.\nthread::sleep(x);\n";
        let without = "thread::sleep(x);\n";
        let e2e = "tests/e2e/src/a.rs";
        assert!(violations_of(&Sleeps, &[(e2e, with_reason)]).is_empty());
        assert_eq!(violations_of(&Sleeps, &[(e2e, without)]).len(), 1);
        let pure = "crates/shard/src/tests.rs";
        assert_eq!(violations_of(&Sleeps, &[(pure, with_reason)]).len(), 1);
    }
}
