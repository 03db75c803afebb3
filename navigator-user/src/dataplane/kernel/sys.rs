//! The system calls that no crate here offers: `bpf(2)` for links and for a
//! grace period, `membarrier(2)`, mounting the BPF file system.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_NOEXIST: u64 = 1;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_MAP_TYPE_ARRAY: u64 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u64 = 12;
const BPF_LINK_TYPE_XDP: u32 = 6;
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// The argument of `bpf(2)`, as words; every command reads a prefix of it.
type Attributes = [u64; 16];

fn bpf(command: libc::c_long, attributes: &mut Attributes) -> io::Result<libc::c_long> {
    let size = size_of::<Attributes>();
    // SAFETY: the kernel reads `size` bytes of the attributes; pointers in them are to live
    // buffers of the callers in this file, each as long as its command writes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Opens a pinned object.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = [0; 16];
    attributes[0] = path.as_ptr() as u64;
    bpf(BPF_OBJ_GET, &mut attributes).map(owned)
}

/// The interface that an XDP link is attached to: 0 once the interface is gone, `None`
/// for an object that is no XDP link.
pub(super) fn link_interface(link: &OwnedFd) -> io::Result<Option<u32>> {
    // Type, id, program id, padding, interface index; the rest is for other types.
    let mut info = [0u32; 16];
    let mut attributes = [0; 16];
    attributes[0] = link.as_raw_fd() as u64 | (size_of_val(&info) as u64) << 32;
    attributes[1] = info.as_mut_ptr() as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok((info[0] == BPF_LINK_TYPE_XDP).then_some(info[4]))
}

/// Detaches a link from its interface at once.
pub(super) fn detach_link(link: &OwnedFd) -> io::Result<()> {
    let mut attributes = [0; 16];
    attributes[0] = link.as_raw_fd() as u64;
    bpf(BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// Returns once every run of a BPF program that was under way has ended.
pub(super) fn grace() -> io::Result<()> {
    // SAFETY: no memory is handed over.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 {
        return Ok(());
    }
    grace_by_map()
}

/// The same for kernels where `membarrier(2)` cannot (with `nohz_full`, or filtered
/// out): changing a map in a map waits as well.
fn grace_by_map() -> io::Result<()> {
    let array = |map_type: u64| -> Attributes {
        let mut attributes = [0; 16];
        attributes[0] = map_type | 4 << 32; // key size
        attributes[1] = 4 | 1 << 32; // value size, entries
        attributes
    };
    let inner = bpf(BPF_MAP_CREATE, &mut array(BPF_MAP_TYPE_ARRAY)).map(owned)?;
    let mut outer = array(BPF_MAP_TYPE_ARRAY_OF_MAPS);
    outer[2] = (inner.as_raw_fd() as u64) << 32;
    let outer = bpf(BPF_MAP_CREATE, &mut outer).map(owned)?;
    let (key, value) = (0u32, inner.as_raw_fd());
    let mut update = [0; 16];
    update[0] = outer.as_raw_fd() as u64;
    update[1] = &raw const key as u64;
    update[2] = &raw const value as u64;
    bpf(BPF_MAP_UPDATE_ELEM, &mut update).map(drop)
}

/// Reads the value of an 8-byte key, `take` also removes it; `false` if there is none. The map's
/// values must have the length of `value`.
pub(super) fn lookup(map: &OwnedFd, key: u64, value: &mut [u64], take: bool) -> io::Result<bool> {
    let command = if take {
        BPF_MAP_LOOKUP_AND_DELETE_ELEM
    } else {
        BPF_MAP_LOOKUP_ELEM
    };
    let mut attributes = [0; 16];
    attributes[0] = map.as_raw_fd() as u64;
    attributes[1] = &raw const key as u64;
    attributes[2] = value.as_mut_ptr() as u64;
    found(bpf(command, &mut attributes), libc::ENOENT)
}

/// Inserts the value of an 8-byte key that is not there yet; `false` if it is.
pub(super) fn insert_new(map: &OwnedFd, key: u64, value: &[u64]) -> io::Result<bool> {
    let mut attributes = [0; 16];
    attributes[0] = map.as_raw_fd() as u64;
    attributes[1] = &raw const key as u64;
    attributes[2] = value.as_ptr() as u64;
    attributes[3] = BPF_NOEXIST;
    found(bpf(BPF_MAP_UPDATE_ELEM, &mut attributes), libc::EEXIST)
}

fn found(result: io::Result<libc::c_long>, otherwise: i32) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(otherwise) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads entries of a hash map with 8-byte keys, from `cursor` or the start on; returns how many,
/// and where the next ones begin. `values` must have room for a value of the map for each key.
pub(super) fn lookup_batch(
    map: &OwnedFd,
    cursor: Option<u32>,
    keys: &mut [u64],
    values: &mut [u64],
) -> io::Result<(usize, Option<u32>)> {
    let (begin, mut next) = (cursor.unwrap_or(0), 0u32);
    let mut attributes: Attributes = [0; 16];
    attributes[0] = cursor.map_or(0, |_| &raw const begin as u64);
    attributes[1] = &raw mut next as u64;
    attributes[2] = keys.as_mut_ptr() as u64;
    attributes[3] = values.as_mut_ptr() as u64;
    attributes[4] = keys.len() as u64 & 0xffff_ffff | (map.as_raw_fd() as u64) << 32;
    let more = found(bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes), libc::ENOENT)?;
    let count = (attributes[4] as u32 as usize).min(keys.len());
    Ok((count, more.then_some(next)))
}

/// Reads all values of an array, which are as many as there are chunks of `words` in `values`: of a
/// per-CPU array each with what every CPU has of it.
pub(super) fn read_array(map: BorrowedFd<'_>, words: usize, values: &mut [u64]) -> io::Result<()> {
    let mut keys = vec![0u32; values.len() / words];
    let (mut last, mut done) = (0u32, 0);
    while done < keys.len() {
        let begin = last;
        let mut attributes: Attributes = [0; 16];
        attributes[0] = if done == 0 {
            0
        } else {
            &raw const begin as u64
        };
        attributes[1] = &raw mut last as u64;
        attributes[2] = keys[done..].as_mut_ptr() as u64;
        attributes[3] = values[done * words..].as_mut_ptr() as u64;
        attributes[4] = (keys.len() - done) as u64 | (map.as_raw_fd() as u64) << 32;
        let more = found(bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes), libc::ENOENT)?;
        done += attributes[4] as u32 as usize;
        if !more && done < keys.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Sets the value of an array's entry.
pub(super) fn write_entry(map: BorrowedFd<'_>, entry: u32, value: &[u64]) -> io::Result<()> {
    let mut attributes = [0; 16];
    attributes[0] = map.as_raw_fd() as u64;
    attributes[1] = &raw const entry as u64;
    attributes[2] = value.as_ptr() as u64;
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Finds a key, whose length must be that of the map's; `false` if the map is empty.
pub(super) fn first_key(map: BorrowedFd<'_>, key: &mut [u8]) -> io::Result<bool> {
    let mut attributes = [0; 16];
    attributes[0] = map.as_raw_fd() as u64;
    attributes[2] = key.as_mut_ptr() as u64;
    found(bpf(BPF_MAP_GET_NEXT_KEY, &mut attributes), libc::ENOENT)
}

/// Takes out what is under a key.
pub(super) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attributes = [0; 16];
    attributes[0] = map.as_raw_fd() as u64;
    attributes[1] = key.as_ptr() as u64;
    bpf(BPF_MAP_DELETE_ELEM, &mut attributes).map(drop)
}

/// Mounts a BPF file system.
pub(super) fn mount_bpf(target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: all strings are NUL-terminated and live; there is no data argument.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            target.as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lifts the limit on locked memory, which kernels before 5.11 charge maps to.
/// Without the right to do so nothing happens: newer kernels do not care.
pub(super) fn lift_memory_limit() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is a live value that the kernel only reads.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_ways_to_wait_return() -> std::io::Result<()> {
        super::grace()?;
        super::grace_by_map()
    }
}
