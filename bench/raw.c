/* The limit: one operation by one thread of C with one held key, nothing around it. The key is an
 * object of the token, as the service's are: SoftHSM needs 40 % more for one than for a session's.
 *
 * raw MODULE TOKEN OPERATION SECONDS < PIN  prints {"per_second": ..., "cpu_us": ...}. */
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

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static unsigned char iv[12];
static CK_GCM_PARAMS gcm = {iv, sizeof iv, 96, NULL, 0, 128};

/* The peer of an agreement: the generator of P-256, a point like any other. */
static unsigned char peer[] = {
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
    0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};
static CK_ECDH1_DERIVE_PARAMS agreed = {CKD_NULL, 0, NULL, sizeof peer, peer};

static struct operation {
    const char *name;
    CK_ATTRIBUTE_TYPE purpose; /* and what the key is made for */
    CK_MECHANISM make, how;
    CK_ULONG size; /* of what goes in */
} operations[] = {
    {"sign_p256", CKA_SIGN, {CKM_EC_KEY_PAIR_GEN, NULL, 0}, {CKM_ECDSA, NULL, 0}, 32},
    {"sign_rsa2048", CKA_SIGN, {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0}, {CKM_RSA_PKCS, NULL, 0}, 51},
    {"gcm_1k", CKA_ENCRYPT, {CKM_AES_KEY_GEN, NULL, 0}, {CKM_AES_GCM, &gcm, sizeof gcm}, 1024},
    {"ecdh_p256", CKA_DERIVE, {CKM_EC_KEY_PAIR_GEN, NULL, 0}, {CKM_ECDH1_DERIVE, &agreed, sizeof agreed}, 0},
    {"cmac_1k", CKA_SIGN, {CKM_AES_KEY_GEN, NULL, 0}, {CKM_AES_CMAC, NULL, 0}, 1024},
};

static CK_OBJECT_HANDLE made(CK_SESSION_HANDLE session, struct operation *op) {
    unsigned char p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    CK_ULONG bits = 2048, bytes = 32;
    CK_ATTRIBUTE ec[] = {{CKA_EC_PARAMS, p256, sizeof p256}, {CKA_TOKEN, &no, 1}};
    CK_ATTRIBUTE rsa[] = {{CKA_MODULUS_BITS, &bits, sizeof bits}, {CKA_TOKEN, &no, 1}};
    CK_ATTRIBUTE key_of[] = {{op->purpose, &yes, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_TOKEN, &yes, 1},
                             {CKA_VALUE_LEN, &bytes, sizeof bytes}};
    CK_OBJECT_HANDLE half, key;
    if (op->make.mechanism == CKM_AES_KEY_GEN) {
        must(p11->C_GenerateKey(session, &op->make, key_of, 4, &key), "a key");
        return key;
    }
    CK_ATTRIBUTE *public = op->make.mechanism == CKM_EC_KEY_PAIR_GEN ? ec : rsa;
    must(p11->C_GenerateKeyPair(session, &op->make, public, 2, key_of, 3, &half, &key), "a pair");
    return key;
}

/* What an agreement takes: derive a secret, read it, and destroy it. */
static void agree(CK_SESSION_HANDLE session, struct operation *op, CK_OBJECT_HANDLE key) {
    CK_OBJECT_CLASS secret = CKO_SECRET_KEY;
    CK_KEY_TYPE generic = CKK_GENERIC_SECRET;
    CK_ULONG bytes = 32;
    unsigned char z[32];
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &secret, sizeof secret}, {CKA_KEY_TYPE, &generic, sizeof generic},
                             {CKA_SENSITIVE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1}, {CKA_TOKEN, &no, 1},
                             {CKA_VALUE_LEN, &bytes, sizeof bytes}};
    CK_ATTRIBUTE value = {CKA_VALUE, z, sizeof z};
    CK_OBJECT_HANDLE made;
    must(p11->C_DeriveKey(session, &op->how, key, wanted, 6, &made), "C_DeriveKey");
    must(p11->C_GetAttributeValue(session, made, &value, 1), "C_GetAttributeValue");
    must(p11->C_DestroyObject(session, made), "C_DestroyObject");
}

static void once(CK_SESSION_HANDLE session, struct operation *op, CK_OBJECT_HANDLE key,
                 unsigned char *data) {
    unsigned char out[2048];
    CK_ULONG size = sizeof out;
    if (op->purpose == CKA_DERIVE) {
        agree(session, op, key);
    } else if (op->purpose == CKA_ENCRYPT) {
        memcpy(iv, data, sizeof iv);
        must(p11->C_EncryptInit(session, &op->how, key), "C_EncryptInit");
        must(p11->C_Encrypt(session, data, op->size, out, &size), "C_Encrypt");
    } else {
        must(p11->C_SignInit(session, &op->how, key), "C_SignInit");
        must(p11->C_Sign(session, data, op->size, out, &size), "C_Sign");
    }
}

static void measure(CK_SESSION_HANDLE session, struct operation *op, CK_OBJECT_HANDLE key,
                    double length) {
    static unsigned char data[64][1024];
    for (int i = 0; i < 64; i++)
        if (getrandom(data[i], 1024, 0) != 1024)
            exit(1);
    long count = 0;
    double began = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID), spent;
    do {
        for (int i = 0; i < 64; i++, count++)
            once(session, op, key, data[i]);
        spent = seconds(CLOCK_MONOTONIC) - began;
    } while (spent < length);
    used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    printf("{\"per_second\": %.1f, \"cpu_us\": %.1f}\n", count / spent, used / count * 1e6);
}

int main(int argc, char **argv) {
    char pin[256] = "";
    struct operation *op = operations, *end = operations + sizeof operations / sizeof *operations;
    if (argc != 5 || !fgets(pin, sizeof pin, stdin))
        return 64;
    while (op < end && strcmp(op->name, argv[3]))
        op++;
    if (op == end)
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
    CK_OBJECT_HANDLE key = made(session, op);
    measure(session, op, key, atof(argv[4]));
    must(p11->C_DestroyObject(session, key), "C_DestroyObject");
    p11->C_Finalize(NULL);
    return 0;
}
