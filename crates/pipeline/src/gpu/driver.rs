//! The version of the GPU's driver.

/// Reads the version from the first line that the kernel module reports.
pub fn version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    version_in(&text)
}

fn version_in(text: &str) -> Option<String> {
    let words = text.lines().next()?.split_whitespace();
    words.map(str::to_owned).find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_is_read_from_either_kind_of_kernel_module() {
        let closed =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.216.03  Fri Oct 25 22:43:06 UTC 2024\nGCC version:  x";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root)\n";
        let (closed, open) = (version_in(closed), version_in(open));
        assert_eq!((closed.as_deref(), open.as_deref()), (Some("535.216.03"), Some("580.65.06")));
        assert_eq!(version_in("\n"), None);
    }
}
