//! The GPU's driver: its version, and the files of its libraries.

/// Reads the version from the first line that the kernel module reports.
pub fn version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    version_in(&text)
}

fn version_in(text: &str) -> Option<String> {
    let words = text.lines().next()?.split_whitespace();
    words.map(str::to_owned).find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
}

/// The libraries of the driver that GStreamer loads: for CUDA, the encoder and the decoder.
const LIBRARIES: [&str; 3] = ["libcuda.so", "libnvidia-encode.so", "libnvcuvid.so"];

/// The files of the driver's libraries that this process has loaded, wherever the loader found them.
pub fn libraries() -> Vec<String> {
    std::fs::read_to_string("/proc/self/maps").map_or_else(|_| Vec::new(), |maps| libraries_in(&maps))
}

fn libraries_in(maps: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    // A line ends with the path of its file. Paths may contain spaces.
    for path in maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..])) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if LIBRARIES.iter().any(|library| name.starts_with(library)) && !found.iter().any(|known| known == path) {
            found.push(path.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_libraries_are_those_that_are_mapped() {
        let maps = "7f00-7f01 r-xp 00000000 fe:00 12 /usr/local/nvidia/lib64/libcuda.so.535.129.03\n\
                    7f01-7f02 rw-p 00000000 00:00 0 \n\
                    7f02-7f03 r--p 00001000 fe:00 12 /usr/local/nvidia/lib64/libcuda.so.535.129.03\n\
                    7f03-7f04 r-xp 00000000 fe:00 13 /a b/libnvidia-encode.so.1\n\
                    7f04-7f05 r-xp 00000000 fe:00 14 /usr/lib/libcudart.so.12\n";
        let expected = ["/usr/local/nvidia/lib64/libcuda.so.535.129.03", "/a b/libnvidia-encode.so.1"];
        assert_eq!(libraries_in(maps), expected);
    }

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
