//! What an agent that was killed has left half-done in a run's folder, taken back by another one.

use super::embed;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes the work tree in `run` the one before a write set that was not finished, or the one after a reset that was not;
/// says whether there was such a thing. Nothing may run in it any more.
///
/// # Errors
/// Where that was not possible: then the tree may be half old, half new.
pub fn recover(run: &Path) -> io::Result<bool> {
    if !is_unfinished(run)? {
        return Ok(false);
    }
    let agent = embed::agent()?;
    let status = Command::new(format!("/proc/self/fd/{}", agent.as_raw_fd()))
        .arg0("pyro-agent")
        .arg("recover")
        .env_clear()
        .current_dir(run)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(true)
    } else {
        let what = format!("the agent that should take it back ended with {status}");
        Err(io::Error::other(what))
    }
}

fn is_unfinished(run: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(run.join("marks/.resetting")) {
        Ok(_) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let corners = match fs::read_dir(run.join("stage")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        done => done?,
    };
    for corner in corners {
        match fs::symlink_metadata(corner?.path().join("journal")) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::recover;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_set_that_was_not_finished_is_taken_back() {
        let run = tempfile::tempdir().expect("a folder");
        let at = |path: &str| run.path().join(path);
        for folder in ["tree/made", "stage/w0"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        assert!(!recover(run.path()).expect("nothing to do"));
        // As the agent has it after an exchange, and a new file in a new directory.
        fs::write(at("tree/f"), "new").expect("a file");
        fs::write(at("tree/made/g"), "new").expect("a file");
        fs::write(at("stage/w0/1"), "old").expect("a file");
        let inode = |path: &str| fs::metadata(at(path)).expect("there").ino();
        let journal = format!(
            "{{\"begin\":{{\"version\":1}}}}\n\
             {{\"exchanged\":{{\"path\":\"f\",\"name\":\"1\",\"inode\":{}}}}}\n\
             {{\"made\":{{\"path\":\"made\",\"name\":\"2\",\"inode\":{}}}}}\n\
             {{\"placed\":{{\"path\":\"made/g\",\"name\":\"3\"}}}}\n{{\"pla",
            inode("tree/f"),
            inode("tree/made"),
        );
        fs::write(at("stage/w0/journal"), journal).expect("a file");
        assert!(recover(run.path()).expect("taken back"));
        assert_eq!(fs::read_to_string(at("tree/f")).expect("there"), "old");
        assert!(!at("tree/made").exists());
        assert!(!at("stage/w0").exists());
        // What nobody understands is not passed over.
        fs::create_dir(at("stage/w1")).expect("a folder");
        fs::write(at("stage/w1/journal"), "{\"begin\":{\"version\":9}}\n").expect("a file");
        assert!(recover(run.path()).is_err());
    }
}
