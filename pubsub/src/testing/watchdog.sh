# Reads the messages of our process until it is gone, then stops the server and deletes the directory $1.
# The messages are a number (this process group is running), `ended` (it has exited) and `keep` (keep the directory).
trap '' HUP INT QUIT TERM
PATH=/usr/bin:/bin
directory=$1
group=

while read -r line; do
    case $line in
    ended) group= ;;
    keep) exit ;;
    *) group=$line ;;
    esac
done

# SIGQUIT is the immediate shutdown. The server removes postmaster.pid last; `initdb` has none, and can be killed at once.
# The existence of the process group says little: an orphan may stay a zombie forever if process 1 does not wait for it.
if [ -n "$group" ]; then
    kill -s QUIT -- "-$group"
    tries=200
    while [ "$tries" -gt 0 ] && [ -e "$directory/data/postmaster.pid" ] && kill -s 0 -- "-$group"; do
        tries=$((tries - 1))
        sleep 0.05
    done
    kill -s KILL -- "-$group"
fi

# Several attempts, because a dying process may still create files.
tries=200
while [ "$tries" -gt 0 ] && [ -e "$directory" ]; do
    tries=$((tries - 1))
    rm -rf -- "$directory" || sleep 0.05
done
