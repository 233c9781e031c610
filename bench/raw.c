/* The limit: P-256 signatures by one thread of C with one held key, nothing around it. The key
 * is an object of the token, as the service's are: SoftHSM needs 40 % more for one than for a
 * session's.
 *
 * raw MODULE TOKEN SECONDS < PIN  prints {"per_second": ..., "cpu_us": ...}. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static CK_FUNCTION_LIST *p11;

static void must(CK_RV rv, const char *what) {
    if (rv != CKR_OK) {
        fprintf(stderr, "raw: %s failed with 0x%lx\n", what, rv);
        exit(1);
    }
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static CK_SLOT_ID slot_of(const char *label) {
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    must(p11->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        must(p11->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
        size_t size = strlen(label);
        if (!memcmp(info.label, label, size) && (size == 32 || info.label[size] == ' '))
            return slots[i];
    }
    fprintf(stderr, "raw: there is no token %s\n", label);
    exit(1);
}

static CK_OBJECT_HANDLE private_key(CK_SESSION_HANDLE session) {
    unsigned char p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE public[] = {{CKA_EC_PARAMS, p256, sizeof p256}, {CKA_TOKEN, &no, 1}};
    CK_ATTRIBUTE private[] = {{CKA_SIGN, &yes, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_TOKEN, &yes, 1}};
    CK_MECHANISM make = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_OBJECT_HANDLE half, key;
    must(p11->C_GenerateKeyPair(session, &make, public, 2, private, 3, &half, &key), "a key pair");
    return key;
}

static void measure(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, double length) {
    CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0};
    unsigned char digests[64][32], signature[64];
    if (getrandom(digests, sizeof digests, 0) != sizeof digests)
        exit(1);
    long count = 0;
    double began = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID), spent;
    do {
        for (int i = 0; i < 64; i++, count++) {
            CK_ULONG size = sizeof signature;
            must(p11->C_SignInit(session, &ecdsa, key), "C_SignInit");
            must(p11->C_Sign(session, digests[i], 32, signature, &size), "C_Sign");
        }
        spent = seconds(CLOCK_MONOTONIC) - began;
    } while (spent < length);
    used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    printf("{\"per_second\": %.1f, \"cpu_us\": %.1f}\n", count / spent, used / count * 1e6);
}

int main(int argc, char **argv) {
    char pin[256] = "";
    if (argc != 4 || !fgets(pin, sizeof pin, stdin))
        return 64;
    pin[strcspn(pin, "\n")] = 0;
    void *module = dlopen(argv[1], RTLD_NOW);
    if (!module)
        return 69;
    CK_C_GetFunctionList list = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
    must(list(&p11), "C_GetFunctionList");
    CK_C_INITIALIZE_ARGS locking = {.flags = CKF_OS_LOCKING_OK};
    must(p11->C_Initialize(&locking), "C_Initialize");
    CK_SESSION_HANDLE session;
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    must(p11->C_OpenSession(slot_of(argv[2]), flags, NULL, NULL, &session), "C_OpenSession");
    must(p11->C_Login(session, CKU_USER, (unsigned char *)pin, strlen(pin)), "C_Login");
    CK_OBJECT_HANDLE key = private_key(session);
    measure(session, key, atof(argv[3]));
    must(p11->C_DestroyObject(session, key), "C_DestroyObject");
    p11->C_Finalize(NULL);
    return 0;
}
