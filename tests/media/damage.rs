//! Damaged files: whatever is in them, the process ends in time, within its memory, with a result or a reason. `make soak` does the same
//! to ten thousand.

use clipfleet_tests::{fixtures::directory, mutation};

#[test]
fn damaged_files_end_with_a_code() {
    let directory = directory();
    let seeds = mutation::seeds(directory.path());
    let tally = mutation::endure(&seeds, 0..120);
    println!("{tally}");
    assert_eq!(tally.broken, [""; 0]);
}
