#!/usr/bin/env bash
# Asks a deployment with curl: ./predict.sh DEPLOYMENT ROWS.json TENSORS.json
#
# curl's own --retry knows neither retry-after-ms nor x-should-retry, and repeats no broken answer; here is all of it.
set -euo pipefail

readonly MAX_RETRIES=2 MAX_WAIT_MS=120000 TIMEOUT_S=60

# Exit status 0: answered, 1: refused or not reached, 2: called wrongly.
main() {
  if [[ -z ${MODELTAP_URL:-} || -z ${MODELTAP_KEY:-} || $# -ne 3 || ! $1 =~ ^[A-Za-z0-9._-]+$ ]]; then
    echo "usage: MODELTAP_URL=… MODELTAP_KEY=… predict.sh DEPLOYMENT ROWS.json TENSORS.json" >&2
    return 2
  fi
  local root=${MODELTAP_URL%/} rows
  rows=$(cat -- "$2")
  ask "$root/predict/$1" < <(printf '{"instances": %s}' "$rows")
  ask "$root/v2/models/$1/infer" <"$3"
}

# Prints the body of the answer. The Idempotency-Key makes all tries one request: it is answered, and charged, once.
ask() {
  local url=$1 idempotency_key tries status reason wait_ms
  idempotency_key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  cat >"$scratch/question"
  for ((tries = 1; ; tries++)); do
    if status=$(send "$url" "$idempotency_key" 2>"$scratch/failure"); then
      if [[ $status == 200 ]]; then
        cat "$scratch/body"
        echo
        return 0
      fi
      reason="$status: $(detail)"
      wait_ms=$(wait_before_retry "$tries" "$status")
    else
      reason="no answer from $url: $(<"$scratch/failure")"
      wait_ms=$(pause_ms "$tries")
    fi
    if [[ -z $wait_ms ]] || ((tries > MAX_RETRIES)); then
      echo "error: $reason" >&2
      return 1
    fi
    echo "$reason; trying again in $(seconds "$wait_ms") s" >&2
    sleep "$(seconds "$wait_ms")"
  done
}

# Prints the status; body and headers lie in the scratch folder. The key comes by a pipe: arguments can be seen by others.
send() {
  : >"$scratch/body"
  curl --silent --show-error --connect-timeout 5 --max-time "$TIMEOUT_S" \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$MODELTAP_KEY") \
    --header 'Content-Type: application/json' --header "Idempotency-Key: $2" \
    --data-binary "@$scratch/question" --dump-header "$scratch/headers" --output "$scratch/body" --write-out '%{http_code}' "$1"
}

# Prints the milliseconds until the next try; nothing where there should be none.
wait_before_retry() {
  local tries=$1 status=$2 should asked_ms
  should=$(header x-should-retry)
  [[ $should != false ]] || return 0
  [[ $should == true || $status =~ ^(408|409|429|5..)$ ]] || return 0
  asked_ms=$(wait_asked_ms)
  if [[ -z $asked_ms ]]; then
    pause_ms "$tries"
  elif ((asked_ms <= MAX_WAIT_MS)); then
    echo "$asked_ms"
  fi
}

# Prints what the server asks for, in milliseconds, in seconds or as a date.
wait_asked_ms() {
  local milliseconds after moment_s
  milliseconds=$(header retry-after-ms)
  after=$(header retry-after)
  if [[ $milliseconds =~ ^[0-9]{1,15}$ ]]; then
    echo "$((10#$milliseconds))"
  elif [[ $after =~ ^[0-9]{1,12}$ ]]; then
    echo "$((10#$after * 1000))"
  elif [[ -n $after ]] && moment_s=$(date -d "$after" +%s 2>/dev/null); then
    moment_s=$((moment_s - $(date +%s)))
    echo "$((moment_s > 0 ? moment_s * 1000 : 0))"
  fi
}

# Twice as long each time, and not the same for all who wait.
pause_ms() {
  local longest=$((250 << ($1 - 1)))
  ((longest <= 8000)) || longest=8000
  echo "$((longest / 2 + RANDOM % (longest / 2 + 1)))"
}

seconds() { printf '%d.%03d' "$(($1 / 1000))" "$(($1 % 1000))"; }

header() {
  awk -F: -v name="$1" 'tolower($1) == name { sub(/^[^:]*:[ \t]*/, ""); sub(/[ \t\r]*$/, ""); value = $0 } END { print value }' \
    "$scratch/headers"
}

# What a refusal says: `detail` of problem+json, `error` of /v2, else all of it.
detail() {
  local said
  said=$(grep -o -E '"(detail|error)": ?"([^"\\]|\\.)*"' "$scratch/body" || true)
  said=$(sed -E -e '1!d' -e 's/^"[a-z]+": ?"(.*)"$/\1/' -e 's/\\(["\\/])/\1/g' <<<"$said")
  if [[ -n $said ]]; then echo "$said"; else cat "$scratch/body"; fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
main "$@"
