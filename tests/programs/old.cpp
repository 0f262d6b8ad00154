// old.cpp - a C++ program of 2007: the old header, and what it declares besides ketama
//
// Prints the number of points, then "point ip" for each; "hash point ip" for each key that
// follows the file's name.
#include <ketama.h>

#include <cstdio>
#include <cstring>
#include <string>

#if defined(_SEM_SEMUN_UNDEFINED) || defined(__linux__)
union semun { // semctl's argument, which a program defines itself on Linux
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};
#endif

class Ring
{
  public:
    explicit Ring(char *file) : ring_(0), changed_(0)
    {
        if (!ketama_roll(&ring_, file))
            throw std::string(ketama_error());
        changed_ = *(time_t *)ring_->modtime;
    }
    ~Ring() { ketama_smoke(ring_); }
    ketama_continuum get() const { return ring_; }
    time_t changed() const { return changed_; }

  private:
    Ring(const Ring &);
    ketama_continuum ring_;
    time_t changed_;
};

static int by_ip(const void *a, const void *b)
{
    return strcmp(((const mcs *)a)->ip, ((const mcs *)b)->ip);
}

int main(int argc, char **argv)
{
    key_t key = ftok(argv[0], 'K');
    int semaphore = semget(key, 1, IPC_CREAT | IPC_EXCL | 0600);
    union semun one;
    one.val = 1;
    if (semaphore != -1 && semctl(semaphore, 0, SETVAL, one) != -1)
        semctl(semaphore, 0, IPC_RMID);

    compfn compare = (compfn)ketama_compare;
    compfn others = by_ip;
    serverinfo info = {"127.0.0.1:11211", 600};
    unsigned char digest[16];
    ketama_md5_digest(argv[1], digest);
    try {
        Ring ring(argv[1]);
        continuum *c = ring.get();
        if (0 == c->array || ring.changed() == 0 || others == 0 || info.memory > MC_SHMSIZE)
            return 2;
        mcs(*points)[1] = (mcs(*)[1])c->array;
        std::printf("%d\n", c->numpoints);
        for (int i = 0; i < c->numpoints; i++) {
            if (i > 0 && compare(&(*points)[i - 1], &(*points)[i]) > 0)
                return 3;
            std::printf("%u\t%s\n", (*points)[i].point, (*points)[i].ip);
        }
        for (int i = 2; i < argc; i++) {
            mcs *found = ketama_get_server(argv[i], ring.get());
            std::printf("%u\t%u\t%s\n", ketama_hashi(argv[i]), found->point, found->ip);
        }
    } catch (const std::string &error) {
        char *message = ketama_error();
        std::fprintf(stderr, "%s\n", message);
        return error == message ? 1 : 4;
    }
    return 0;
}
