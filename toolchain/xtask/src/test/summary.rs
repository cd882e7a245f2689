//! Adds up the results that test programs print.
//!
//! libtest and libtest-mimic end with the same line; a run has one for every test program. Node.js's runner ends with a
//! line for each count.

use std::fmt;

/// Tests by result.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Summary {
    /// Adds a line of output, if it is a result.
    pub(super) fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(count) = line.strip_prefix("# ").or_else(|| line.strip_prefix("\u{2139} ")) {
            return self.read_node(count);
        }
        let Some(result) = line.strip_prefix("test result:") else { return };
        // "ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s"
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for count in counts.split(';') {
            let Some((number, what)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds a count of Node.js: "pass 3".
    fn read_node(&mut self, count: &str) {
        let Some((what, number)) = count.split_once(' ') else { return };
        let Ok(number) = number.parse::<u32>() else { return };
        match what {
            "pass" => self.passed += number,
            // What the runner gave up on did not pass.
            "fail" | "cancelled" => self.failed += number,
            "skipped" | "todo" => self.skipped += number,
            _ => {}
        }
    }

    /// Tests that there were.
    pub(super) fn count(&self) -> u32 {
        self.passed + self.failed + self.skipped
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut summary = Summary::default();
        let output = "running 4 tests\ntest a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s\n\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";
        for line in output.lines() {
            summary.read(line);
        }
        assert_eq!(summary, Summary { passed: 13, failed: 2, skipped: 1 });
        assert_eq!(summary.to_string(), "13 passed, 2 failed, 1 skipped");
        assert_eq!(summary.count(), 16);
    }

    #[test]
    fn results_of_node_are_added_up() {
        let mut summary = Summary::default();
        let tap =
            "# tests 9\n# suites 1\n# pass 5\n# fail 1\n# cancelled 1\n# skipped 2\n# todo 0\n# duration_ms 12.5\n";
        for line in tap.lines().chain(["\u{2139} pass 4", "# pass the salt", "  # Subtest: fail 3"]) {
            summary.read(line);
        }
        assert_eq!(summary, Summary { passed: 9, failed: 2, skipped: 2 });
    }

    #[test]
    fn other_lines_do_not_count() {
        let mut summary = Summary::default();
        summary.read("error: test failed, to rerun pass `--lib`");
        summary.read("the test result: 5 passed");
        summary.read("test result: unreadable");
        assert_eq!(summary.count(), 0);
    }
}
