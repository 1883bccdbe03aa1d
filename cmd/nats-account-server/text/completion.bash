# bash completion, made by "nats-account-server completion bash"
_nats_account_server() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $prev in
    @paths@)
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
        return ;;
    @signals@)
        COMPREPLY=($(compgen -W "@signalWords@" -- "$cur"))
        return ;;
    @others@)
        return ;;
    esac
    local words="@flags@" files=
    if ((COMP_CWORD == 1)); then
        words="$words @commands@"
    else
        case ${COMP_WORDS[1]} in
@operands@        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ $files && $cur != -* ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -F _nats_account_server nats-account-server
