# What the machine's own package manager is set to, for root file systems made here. Sourced after common.bash.
# shellcheck shell=bash

# Third-party repositories may need keys that only this machine has; nothing made here needs them.
is_distribution_source() {
    local suite
    suite=$(distribution_codename)
    grep -Eq "(^|[[:space:]])$suite(-updates|-security)?([[:space:]]|/|\$)" "$1"
}

# Writes the machine's apt sources into FOLDER/sources and apt's address settings into FOLDER/apt.conf; nothing that could
# be a secret: apt_settings FOLDER
apt_settings() {
    local to=$1 file
    mkdir -p "$to/sources"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if [ -s "$file" ] && is_distribution_source "$file"; then cp "$file" "$to/sources/"; fi
    done
    [ -n "$(ls "$to/sources")" ] || die "no apt source of $(distribution_id) found in /etc/apt"
    apt-config dump | grep -E '^Acquire::(Check-|Retries|[Hh]ttps?::(Proxy|Timeout|Pipeline))' | sort >"$to/apt.conf" || true
}

# A minimal root file system with these packages, made by mmdebstrap; TARGET is a tar or a folder:
# debian_root SETTINGS PACKAGE,... TARGET [mmdebstrap options...]
debian_root() {
    local settings=$1 packages=$2 target=$3 options=() line
    shift 3
    have mmdebstrap || die "mmdebstrap is missing" "run scripts/prepare-machine"
    while IFS= read -r line; do
        if [ -n "$line" ]; then options+=(--aptopt="$line"); fi
    done <"$settings/apt.conf"
    quietly mmdebstrap as_root mmdebstrap --variant=minbase --include="$packages" "${options[@]}" "$@" \
        "$(distribution_codename)" "$target" "$settings/sources/"*
}
