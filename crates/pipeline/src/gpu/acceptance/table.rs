//! The table of results: rows, each printed as soon as it is known, and the totals.

/// The totals so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    passed: u32,
    failed: u32,
}

impl Table {
    /// Prints a row: the subject, and the finding, good or bad.
    pub(super) fn row(&mut self, what: &str, found: Result<String, String>) {
        let (sign, text) = match found {
            Ok(text) => {
                self.passed += 1;
                ("pass", text)
            }
            Err(text) => {
                self.failed += 1;
                ("FAIL", text)
            }
        };
        println!("{sign}  {what:<44} {text}");
    }

    /// Prints the totals. Returns whether all rows passed, and there was at least one.
    pub(super) fn end(self) -> bool {
        let Self { passed, failed } = self;
        println!("{passed} passed, {failed} failed");
        failed == 0 && passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_row_or_no_row_at_all_is_a_failure() {
        let table = |rows: &[Result<String, String>]| {
            let mut table = Table::default();
            rows.iter().for_each(|row| table.row("row", row.clone()));
            table.end()
        };
        assert!(table(&[Ok(String::new())]));
        assert!(!table(&[Ok(String::new()), Err(String::new()), Ok(String::new())]));
        assert!(!table(&[]));
    }
}
