//! Under `--cfg fuzzing` (see `scripts/fuzz`) libFuzzer's program for the target that `FUZZ_TARGET`
//! names; otherwise a player of single inputs: `tally-fuzz TARGET FILE`.

#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(fuzzing, allow(unsafe_code, missing_docs, reason = "what the macro expands to"))]

#[cfg(fuzzing)]
static TARGET: std::sync::LazyLock<targets::Target> = std::sync::LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    *targets::TARGETS.iter().find(|target| target.name == name).expect("a known target")
});

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (name, file) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let Some(target) = targets::TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: tally-fuzz TARGET FILE\ntargets: {}", names.join(" "));
        return std::process::ExitCode::FAILURE;
    };
    match std::fs::read(&file) {
        Ok(input) => {
            (target.run)(&input);
            println!("{name} {file}: nothing found");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot read `{file}`: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
