//! The first program of the machine: a shell script that runs the tests and turns it off.

use std::path::Path;

/// What it writes before a test binary, followed by its name.
pub(crate) const BEGIN: &str = "navigator-vm: begin ";
/// What it writes after one, followed by its exit code.
pub(crate) const END: &str = "navigator-vm: end ";

/// Where test binaries are in the machine.
pub(crate) const TESTS: &str = "/tests";

/// The kernel's BTF is covered up: no program needs it, but the loader reads all of it each time,
/// which takes as long as all the rest of a packet test.
const HEAD: &str = "\
#!/bin/sh
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/ NAVIGATOR_VM=1
export NAVIGATOR_BIN=/tests/navigator
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mount --bind /dev/null /sys/kernel/btf/vmlinux
ip link set lo up
run() {
    echo \"navigator-vm: begin ${1##*/}\"
    \"$@\"
    echo \"navigator-vm: end $?\"
}
";

/// Turns the machine off at once, when the console has shown everything: nothing is to be kept.
const TAIL: &str = "\
sleep 1
echo o > /proc/sysrq-trigger
sleep 60
";

/// The script: loads the modules, runs the tests with what is passed on to them.
pub(crate) fn script(modules: &[&Path], tests: &[&str], extra: &[String]) -> String {
    let mut text = HEAD.to_owned();
    for module in modules {
        text += &format!("insmod {}\n", quoted(&module.to_string_lossy()));
    }
    let extra: String = extra
        .iter()
        .map(|arg| format!(" {}", quoted(arg)))
        .collect();
    for test in tests {
        text += &format!("run {TESTS}/{test} --test-threads=1{extra}\n");
    }
    text + TAIL
}

/// One word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_loads_runs_and_ends() {
        let extra = ["it's".to_owned()];
        let text = script(&[Path::new("/m/veth.ko")], &["packets"], &extra);
        let insmod = text.find("insmod '/m/veth.ko'\n");
        let run = text.find(r"run /tests/packets --test-threads=1 'it'\''s'");
        assert!(insmod.is_some() && insmod < run, "{text}");
        assert!(text.ends_with(TAIL));
        assert!(text.contains(BEGIN) && text.contains(END));
    }
}
