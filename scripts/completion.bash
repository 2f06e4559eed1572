# shellcheck shell=bash
# Completes the words of nextaddr and nextaddr-drill in bash, then those of the command as bash-completion does, where that
# is installed.
# Must not need bash-completion, nor run anything.

# Bash divides words at = and : as well, and wants back only what follows the last of these (its second argument).
_nextaddr() {
    # Those with a value, and the others.
    local valued='--resolve --only --skip --delay --memory --dns-ports --fault --seed --log --log-file --log-format --format'
    local plain='--no-probes --no-deepbind --off --no-failover --expect-failover -v --status --forget --check --help --version'
    if [[ ${1##*/} == nextaddr-drill ]]; then
        valued='--cases --hosts --runs --timeout --require --jobs --ready --probe --junit --json --output --resolve --only
            --skip --delay --dns-ports'
        plain='--no-probes --help --version'
    fi
    valued=${valued//[[:space:]]/ }
    local line=${COMP_LINE:0:COMP_POINT} words=() starts=() gap word i

    # The words as nextaddr will see them, and where in COMP_WORDS each of them starts.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        gap=${line%%[![:space:]]*}
        line=${line#"$gap"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$line
        line=${line#"$word"}
        if [[ $i -gt 0 && -z $gap ]]; then
            words[-1]+=$word
        else
            words+=("$word")
            starts+=("$i")
        fi
    done

    local last=$((${#words[@]} - 1)) option='' head value
    for ((i = 1; i < last; i++)); do
        case ${words[i]} in
        --) break ;;
        -*)
            if [[ " $valued " == *" ${words[i]} "* ]]; then
                option=${words[i]}
                ((++i))
            fi
            ;;
        *) break ;;
        esac
    done
    COMPREPLY=()
    word=${words[last]}
    value=$word
    if ((i < last)); then
        [[ ${words[i]} != -- ]] || ((++i))
        option=argument
        ((i < last)) || option='command'
    elif ((i == last)); then
        case $word in
        --*=*)
            option=${word%%=*}
            value=${word#*=}
            ;;
        -*) option=option ;;
        *) option='command' ;;
        esac
    fi
    value=${value#[\"\']}
    head=${word%"$value"}
    # What bash has of the word already, which is not always the same.
    local ahead=''
    [[ $word != *"$2" ]] || ahead=${word%"$2"}
    value=${value//\\/}

    case $option in
    option) _nextaddr_reply -W "$valued $plain" ;;
    --cases)
        head+=${value%"${value##*,}"}
        value=${value##*,}
        _nextaddr_reply -W 'first-refuses second-refuses third-refuses fourth-refuses first-silent first-unreachable
            first-resets first-slow all-but-the-last-silent all-ipv6-silent all-refuse all-silent no-such-name
            name-server-in-trouble'
        ;;
    --require) _nextaddr_reply -W 'with-nextaddr by-itself both' ;;
    --log) _nextaddr_reply -W 'off error info debug' ;;
    --log-format) _nextaddr_reply -W 'text json' ;;
    --format) _nextaddr_reply -W 'text json openmetrics' ;;
    --delay) _nextaddr_reply -W auto ;;
    --memory) _nextaddr_reply -W off -f ;;
    --log-file) _nextaddr_reply -W syslog -f ;;
    --junit | --json) _nextaddr_reply -f ;;
    --output) _nextaddr_reply -d ;;
    --check) _nextaddr_reply -c ;;
    command | argument)
        if declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset "${starts[i]}"
        elif declare -F _command_offset >/dev/null; then
            _command_offset "${starts[i]}"
        elif [[ $option == 'command' ]]; then
            _nextaddr_reply -c
        else
            _nextaddr_reply -f
        fi
        ;;
    esac
}

# _nextaddr_reply ARGUMENT..: the answer is what compgen finds for the value.
_nextaddr_reply() {
    mapfile -t COMPREPLY < <(compgen -P "$head" "$@" -- "$value")
    COMPREPLY=("${COMPREPLY[@]#"$ahead"}")
    # Directories get their slash, and what is special in a name its backslash.
    case " $* " in
    *' -f '* | *' -d '* | *' -c '*) compopt -o filenames 2>/dev/null || : ;;
    esac
}

complete -F _nextaddr nextaddr nextaddr-drill
