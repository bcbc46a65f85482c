#!/usr/bin/env bash
# Breaks the library in every way that cargo-mutants knows, one at a time, and looks whether a test
# finds out. Fails if a mutant survives that tests/mutants.txt does not name.
#
#   tests/mutants.sh                        all of src/ and arch/ (hours)
#   tests/mutants.sh src/addr 'arch/x86/*'  these files and folders only
#   tests/mutants.sh --shard 0/8            an eighth of them; the eight together are all
#   tests/mutants.sh --resume               goes on after an interruption, or after new tests
#   tests/mutants.sh --jobs 2               two mutants at a time: each takes a core and 2 GiB
#
# There are two passes: every mutant meets the tests that are quick, and those that survive meet all
# tests of the library, and the explorer. Results are in target/mutants/mutants.out; working copies are
# in $TMPDIR, best on a tmpfs of 8 GiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=27
if ! command -v cargo-mutants >/dev/null; then
    echo "cargo-mutants is missing: cargo install cargo-mutants --locked --version '^$version'" >&2
    exit 2
fi
if [[ $(cargo mutants --version) != "cargo-mutants $version."* ]]; then
    echo "$(cargo mutants --version) may name mutants otherwise than version $version" >&2
    exit 2
fi

resume=
only=()
options=()
while (($# > 0)); do
    case $1 in
        --resume) resume=--iterate ;;
        --shard | --jobs)
            options+=("$1" "${2:?$1 needs a value}")
            shift
            ;;
        -*)
            echo "unknown option $1" >&2
            exit 2
            ;;
        # arch/ is a part of the crate through src/lib.rs, and its files are named so.
        arch | arch/*) only+=(--file "src/../${1%/}" --file "src/../${1%/}/**") ;;
        *) only+=(--file "${1%/}" --file "${1%/}/**") ;;
    esac
    shift
done

# The model, and words that can be stepped through, are tools for tests, which all of these tests are of;
# instructions can be run by a kernel only.
options+=(--exclude 'src/model/**' --exclude src/level/stepped.rs --exclude 'src/../arch/x86/cpu.rs')
# How a value is printed is for people to read.
options+=(--exclude-re 'impl .*(Debug|Display).* for')

# They take most of the time, and what they see is mostly seen by others.
long=(failing:: mmu:: model:: together:: never::a_used_bit)

output=target/mutants
mkdir -p "$output"
# Nearly all of the time goes into making code. With these it takes two thirds; and a test program can
# stop at the first failure. None of it is stable yet, which the last one is for.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=false
export RUSTFLAGS='-Zub-checks=no -Zinline-mir=yes' RUSTC_BOOTSTRAP=1
unset CARGO_TARGET_DIR

# pass CASES SECONDS OPTIONS... -- ARGUMENTS-OF-TESTS...
pass() {
    local cases=$1 seconds=$2 here=() status=0
    shift 2
    while [[ $1 != -- ]]; do
        here+=("$1")
        shift
    done
    shift
    # For building, too: most other tests and the examples need not be built.
    PROPTEST_CASES=$cases cargo mutants --output "$output" --no-shuffle --colors never \
        --timeout "$seconds" --build-timeout 300 --cargo-arg=--locked --cargo-arg=--test=suite \
        "${options[@]}" "${only[@]}" "${here[@]}" -- -- -Z unstable-options --fail-fast "$@" || status=$?
    # 2: some survived; 3: some made a test run for ever, which is as good as failing.
    if ((status != 0 && status != 2 && status != 3)); then
        return "$status"
    fi
}

pass 8 15 $resume -- "${long[@]/#/--skip=}"
if [[ -s $output/mutants.out/missed.txt ]]; then
    # What ran for ever would do so again, for five minutes each: it counts as caught.
    cat "$output/mutants.out/timeout.txt" >>"$output/mutants.out/caught.txt"
    pass 24 300 --iterate --cargo-arg=--test=explore --
fi

known=tests/mutants.txt
# Without lines and columns, which change with every edit above them.
survivors=$(sed -E 's/:[0-9]+:[0-9]+: /: /' "$output/mutants.out/missed.txt" | sort)
count() { grep -c . "$1" || true; }
printf '%s caught or not to be compiled, %s survive\n' \
    "$(cat "$output"/mutants.out/{caught,previously_caught,timeout,unviable}.txt 2>/dev/null | grep -c . || true)" \
    "$(count "$output/mutants.out/missed.txt")"
# Each line of the list stands for one mutant, with the reason after " -- ".
new=$(comm -23 <(printf '%s' "${survivors:+$survivors$'\n'}") \
    <(grep -v '^#' "$known" | sed 's/ -- .*//' | sort))
if [[ -n $new ]]; then
    printf 'not on the list in %s:\n%s\n' "$known" "$new" >&2
    exit 1
fi
