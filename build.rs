//! Builds the guest agent and tells the host's code where it is, to be embedded.
//!
//! The agent is a program of its own: static, small, with its own profile; so it is built by a cargo of its own, in
//! a folder of its own (the outer cargo holds the lock of the usual one). `PYRO_GUEST_BIN` names a ready one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PYRO_GUEST_BIN");
    for path in ["build.rs", "guest", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let agent = match env::var_os("PYRO_GUEST_BIN") {
        Some(ready) => {
            let ready = PathBuf::from(ready);
            println!("cargo::rerun-if-changed={}", ready.display());
            ready
        }
        None => build(),
    };
    assert!(
        agent.is_file(),
        "there is no guest agent at {}",
        agent.display()
    );
    println!("cargo::rustc-env=PYRO_GUEST={}", agent.display());
}

fn build() -> PathBuf {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let target = variable("TARGET");
    let folder = Path::new(&variable("OUT_DIR")).join("guest");
    let workspace = variable("CARGO_MANIFEST_DIR");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(&workspace)
        .args(["build", "--package", "pyro-guest", "--bin", "pyro-guest"])
        .args(["--profile", "guest", "--target", &target, "--target-dir"])
        .arg(&folder);
    if Path::new(&workspace).join("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    // What the outer cargo (or clippy, or a user's wrapper) wants for the host program is not meant for this one.
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let outer = [
            "RUSTC",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CLIPPY_ARGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_MAKEFLAGS",
            "MAKEFLAGS",
            "MFLAGS",
        ];
        let prefixes = [
            "CARGO_PROFILE_",
            "CARGO_FEATURE_",
            "CARGO_CFG_",
            "CARGO_PKG_",
        ];
        let flags_of_a_target = name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS");
        if outer.contains(&name)
            || prefixes.iter().any(|prefix| name.starts_with(prefix))
            || flags_of_a_target
        {
            cargo.env_remove(name);
        }
    }
    // Static: it runs where none of the host's libraries are. With an explicit target this leaves procedural macros
    // and build scripts alone, which cannot be static.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    if variable("PROFILE") == "debug" {
        // Small matters in what is shipped; while developing, time does.
        cargo
            .env("CARGO_PROFILE_GUEST_LTO", "off")
            .env("CARGO_PROFILE_GUEST_CODEGEN_UNITS", "16");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the guest agent does not build: {status}");
    folder.join(target).join("guest/pyro-guest")
}
