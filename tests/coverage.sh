#!/usr/bin/env bash
# Line coverage of src/ and arch/ by the tests: a line for each file, and the total.
#
#   tests/coverage.sh               every test
#   tests/coverage.sh suite layers  these only
#
# The lines that nothing has run are in target/coverage/uncovered.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in llvm-profdata-22 llvm-cov-22; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing: apt-get install -y --no-install-recommends llvm-22" >&2
        exit 2
    fi
done

out=$PWD/target/coverage
rm -rf "$out/raw"
mkdir -p "$out/raw"
export CARGO_TARGET_DIR=$out RUSTFLAGS=-Cinstrument-coverage CARGO_INCREMENTAL=0
export LLVM_PROFILE_FILE=$out/raw/%p-%m.profraw

tests=(--tests)
if (($# > 0)); then
    tests=()
    for name in "$@"; do
        tests+=(--test "$name")
    done
fi

# Some tests run the examples.
cargo build --locked --examples
cargo test --locked --no-run "${tests[@]}" --message-format=json >"$out/built.json"
mapfile -t programs < <(grep -o '"executable":"[^"]*"' "$out/built.json" | cut -d'"' -f4 | sort -u)
cargo test --locked "${tests[@]}" >"$out/tests.log" 2>&1 || {
    cat "$out/tests.log" >&2
    exit 1
}

llvm-profdata-22 merge --sparse -o "$out/all.profdata" "$out"/raw/*.profraw
objects=()
for program in "${programs[@]}"; do
    objects+=(--object "$program")
done

llvm-cov-22 export --format=lcov --instr-profile "$out/all.profdata" "${objects[@]}" \
    --sources src arch >"$out/all.lcov"

# A line counts once, however often a generic body was made into code.
awk -F'[:,]' -v root="$PWD/" -v list="$out/uncovered.txt" '
    /^SF:/ {
        file = substr($0, 4)
        sub(root, "", file)
        sub("^src/../", "", file)
    }
    /^DA:/ && file ~ /^(src|arch)\// {
        if (!((file, $2) in runs)) { lines[file]++ }
        runs[file, $2] += $3
    }
    END {
        for (key in runs) {
            split(key, at, SUBSEP)
            if (runs[key] > 0) { hit[at[1]]++ } else { print at[1] ":" at[2] | ("sort -t: -k1,1 -k2,2n >" list) }
        }
        for (file in lines) {
            printf "%6.2f %% %5d of %5d  %s\n", 100 * hit[file] / lines[file], hit[file], lines[file], file | "sort -k6"
            all += lines[file]; done += hit[file]
        }
        close("sort -k6")
        if (!all) { print "nothing was covered" >"/dev/stderr"; exit 1 }
        printf "%6.2f %% %5d of %5d  total\n", 100 * done / all, done, all
    }' "$out/all.lcov"
