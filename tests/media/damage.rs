//! Damaged files: the process ends in time and within its memory, with a result or a reason. `make soak` does the same
//! with ten thousand files.

use clipfleet_tests::{fixtures::directory, mutation};

#[test]
fn damaged_files_end_with_a_code() {
    let directory = directory();
    let seeds = mutation::seeds(directory.path());
    let tally = mutation::run_all(&seeds, 0..120);
    println!("{tally}");
    assert_eq!(tally.violations, [""; 0]);
}
