//! Other builds, with the cargo that has built this one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// This package.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Runs `cargo build --release` with these arguments and variables, for a package of this repository,
/// into a target directory of its own, and says where that is.
pub fn build(
    manifest: &str,
    folder: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<PathBuf, String> {
    let target = target().join(folder);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(Path::new(PACKAGE).join(manifest))
        .args(arguments)
        .args([OsStr::new("--target-dir"), target.as_os_str()])
        .env_remove("RUSTFLAGS")
        .envs(variables.iter().copied())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if built.status.success() {
        return Ok(target.join("release"));
    }
    let said = String::from_utf8_lossy(&built.stderr);
    let first = said.lines().find(|line| line.starts_with("error")).unwrap_or("cargo build failed");
    Err(format!("{manifest}, {folder}: {first}"))
}

/// Beside this program, where whatever is built is removed by `cargo clean`.
fn target() -> PathBuf {
    let this = std::env::current_exe().ok();
    let beside = this.as_deref().and_then(Path::parent).and_then(Path::parent);
    beside.map_or_else(|| Path::new(PACKAGE).join("target"), Path::to_owned).join("benches")
}

/// This program, of a crate that was built without relocation.
pub fn without_relocation() -> Result<PathBuf, String> {
    let flags = [("RUSTFLAGS", "--cfg pgtable_no_relocation")];
    let release = build("Cargo.toml", "without", &["--no-default-features"], &flags)?;
    Ok(release.join("benches"))
}
