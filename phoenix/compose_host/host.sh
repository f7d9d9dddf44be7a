# Stacks on their own host. Called as `sh -c TEXT compose-host VERB WORDS...`; ROOT is the directory of
# all of them. Each has a directory, its root's alone, with
#   docker-compose.yml, stack.env   what is deployed, or was tried last
#   state                           "deploying", or "good" once its containers have been seen to run
#   good/                           the last version that was seen to run
# so what a run that died left behind is told from what runs. Prints its answer in base64 (a line
# for each part), since files and logs have any bytes. Its words for a person go to standard error.
umask 077
root=$1 verb=$2
shift 2

encoded() { # FILE: a line; "-" where there is none
    if [ -f "$1" ]; then printf '=%s\n' "$(base64 -w0 "$1")"; else echo -; fi
}

kept() { # DIRECTORY: its two files
    encoded "$1/docker-compose.yml"
    encoded "$1/stack.env"
}

engine() { # METHOD PATH: the answer of Docker's API, its status in the last line
    if ! curl --silent --show-error --globoff --unix-socket /var/run/docker.sock \
        --request "$1" --write-out '\n%{http_code}' "http://localhost$2" >"$work"; then
        echo "Docker does not answer at /var/run/docker.sock" >&2
        return 1
    fi
    base64 -w0 "$work"
    echo
}

# Compose sees the stack's own variables, and none of this log-in.
compose() { # PROJECT WORDS...
    project=$1
    shift
    timeout --kill-after=10 "${seconds:-900}" env -i DOCKER_CONFIG="$config" "$(command -v docker)" \
        compose --project-name "$project" "$@"
}

of_files() { # DIRECTORY: the words that name its files
    files="--project-directory $root/$project --file $1/docker-compose.yml --env-file $1/stack.env"
}

written() { # FILE: standard input, whole or not at all
    cat >"$1.new" && sync -d "$1.new" && mv "$1.new" "$1"
}

work=$(mktemp -p /run phoenix-compose.XXXXXX 2>/dev/null) || work=$(mktemp) || exit 1
trap 'rm -f "$work"' EXIT
config=$root/.docker # with the declared registries' log-ins
project=${1:-}
case "$verb" in
observe) # PROJECT PATH: state, files, the last good files, when; the answer to PATH of Docker's API
    encoded "$root/$1/state"
    kept "$root/$1"
    kept "$root/$1/good"
    stat -c %Y "$root/$1/docker-compose.yml" 2>/dev/null || echo 0
    engine GET "$2"
    ;;
engine) # METHOD PATH
    engine "$@"
    ;;
deploy) # PROJECT SECONDS, and the two files in base64, a line each
    seconds=$2
    mkdir -p "$root/$1/next" && exec 9>"$root/.lock" && flock 9 || exit 1
    IFS= read -r content
    IFS= read -r variables
    printf %s "$content" | base64 -d | written "$root/$1/next/docker-compose.yml" || exit 1
    printf %s "$variables" | base64 -d | written "$root/$1/next/stack.env" || exit 1
    of_files "$root/$1/next"
    # shellcheck disable=SC2086  # words
    compose "$1" $files config --quiet </dev/null >&2 || { rm -rf "$root/$1/next"; exit 9; }
    echo deploying | written "$root/$1/state" || exit 1
    mv "$root/$1/next/docker-compose.yml" "$root/$1/next/stack.env" "$root/$1/" || exit 1
    rmdir "$root/$1/next" 2>/dev/null
    of_files "$root/$1"
    # shellcheck disable=SC2086
    compose "$1" $files up --detach --remove-orphans --quiet-pull </dev/null >&2
    ;;
good) # PROJECT: what is deployed has been seen to run
    [ "$(cat "$root/$1/state" 2>/dev/null)" = deploying ] || exit 0
    mkdir -p "$root/$1/good" || exit 1
    for file in stack.env docker-compose.yml; do
        written "$root/$1/good/$file" <"$root/$1/$file" || exit 1
    done
    echo good | written "$root/$1/state"
    ;;
remove) # PROJECT: containers and networks; volumes stay
    [ -n "$1" ] || exit 1
    mkdir -p "$root" && exec 9>"$root/.lock" && flock 9 || exit 1
    # By the labels of its containers: that needs no file, and works where one is lost.
    (cd / && compose "$1" down --remove-orphans </dev/null >&2) && rm -rf "${root:?}/$1"
    ;;
pull) # IMAGE SECONDS
    timeout --kill-after=10 "$2" docker --config "$config" pull --quiet -- "$1" </dev/null >&2
    ;;
*)
    echo "no verb $verb" >&2
    exit 2
    ;;
esac
