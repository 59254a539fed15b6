//! The table that people read: one row as soon as it is known, and the sum.

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    passed: u32,
    failed: u32,
}

impl Table {
    /// Prints a row: what was looked at, and what was found, good or bad.
    pub(super) fn row(&mut self, what: &str, found: Result<String, String>) {
        let (sign, told) = match found {
            Ok(told) => {
                self.passed += 1;
                ("pass", told)
            }
            Err(told) => {
                self.failed += 1;
                ("FAIL", told)
            }
        };
        println!("{sign}  {what:<44} {told}");
    }

    /// Prints the sum. Nothing found is no success.
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
    fn one_bad_row_or_no_row_at_all_is_no_success() {
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
