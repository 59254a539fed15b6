//! Resource names of Pub/Sub: `projects/P/topics/T` and `projects/P/subscriptions/S`.

use tonic::Status;

/// Checks a name of the given kind (`topics` or `subscriptions`).
pub(super) fn check(name: &str, kind: &str) -> Result<(), Status> {
    let parts: Vec<_> = name.split('/').collect();
    let ["projects", project, found, id] = parts[..] else { return Err(malformed(name, kind)) };
    if project.is_empty() || found != kind || !is_id(id) {
        return Err(malformed(name, kind));
    }
    Ok(())
}

/// The project and the last part of a name.
pub(super) fn split(name: &str) -> (&str, &str) {
    let mut parts = name.split('/').skip(1);
    (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default())
}

/// Checks `projects/P`, the parent of a list.
pub(super) fn check_project(name: &str) -> Result<(), Status> {
    match name.strip_prefix("projects/") {
        Some(project) if !project.is_empty() && !project.contains('/') => Ok(()),
        _ => Err(Status::invalid_argument(format!("invalid project name '{name}', expected 'projects/PROJECT'"))),
    }
}

/// The documented rule: 3 to 255 characters of a small set; the first is a letter, and the ID must not start with
/// `goog`.
fn is_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~+%".contains(c);
    (3..=255).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(allowed)
        && !id.starts_with("goog")
}

fn malformed(name: &str, kind: &str) -> Status {
    Status::invalid_argument(format!(
        "invalid resource name '{name}', expected 'projects/PROJECT/{kind}/ID' with an ID of 3 to 255 letters, digits \
         and -_.~+% that begins with a letter and not with 'goog'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_documented_rule() {
        assert!(check("projects/p/topics/clip-jobs", "topics").is_ok());
        for name in [
            "",
            "clip-jobs",
            "projects/p/topics/1ab",
            "projects/p/topics/ab",
            "projects/p/topics/google",
            "projects//topics/abc",
            "projects/p/subscriptions/abc",
            "projects/p/topics/a b c",
        ] {
            assert!(check(name, "topics").is_err(), "{name}");
        }
        assert_eq!(split("projects/p/topics/clip-jobs"), ("p", "clip-jobs"));
    }
}
