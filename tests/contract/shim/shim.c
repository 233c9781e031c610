/* A PKCS#11 module that forwards to a real one and misbehaves when a control file says so.
 *
 * Environment: FAULT_TARGET  the library that does the work
 *              FAULT_CONTROL a file of one line "<function> <fault>", read at every call; empty: none
 *              FAULT_CALLS   a file to which the name of every call watched here is appended
 * Faults: flip          the call succeeds, but one bit of its output differs (C_Sign, C_Encrypt,
 *                       C_GetAttributeValue: EXTRACTABLE is denied)
 *         hang          the call never returns
 *         crash         the process dies of SIGSEGV
 *         device-error  the call is made, then CKR_DEVICE_ERROR is reported: what it made exists
 *         general-error the call is made, then CKR_GENERAL_ERROR is reported
 *         full          the call is not made, and CKR_DEVICE_MEMORY is reported
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;

enum fault { NONE, FLIP, DEVICE_ERROR, GENERAL_ERROR, FULL };

static void note(const char *function)
{
    const char *path = getenv("FAULT_CALLS");
    char line[64];
    int size = snprintf(line, sizeof line, "%s\n", function);
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (file >= 0) {
        if (write(file, line, (size_t)size) < 0)
            abort();
        close(file);
    }
}

static enum fault ordered(const char *function)
{
    char name[64] = "", fault[32] = "";
    const char *path = getenv("FAULT_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    note(function);
    if (!file)
        return NONE;
    int words = fscanf(file, "%63s %31s", name, fault);
    fclose(file);
    if (words != 2 || strcmp(name, function) != 0)
        return NONE;
    if (!strcmp(fault, "hang"))
        for (;;)
            pause();
    if (!strcmp(fault, "crash")) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (!strcmp(fault, "flip"))
        return FLIP;
    if (!strcmp(fault, "device-error"))
        return DEVICE_ERROR;
    if (!strcmp(fault, "full"))
        return FULL;
    return !strcmp(fault, "general-error") ? GENERAL_ERROR : NONE;
}

/* Obey, or call the real function and remember whether its output shall be spoilt. */
#define OBEY(function, ...)                                   \
    enum fault fault = ordered(#function);                    \
    if (fault == FULL)                                        \
        return CKR_DEVICE_MEMORY;                             \
    CK_RV rv = real->function(__VA_ARGS__);                   \
    if (fault == DEVICE_ERROR)                                \
        return CKR_DEVICE_ERROR;                              \
    if (fault == GENERAL_ERROR)                               \
        return CKR_GENERAL_ERROR

#define PLAIN(function, declared, ...)                        \
    static CK_RV shim_##function declared                     \
    {                                                         \
        OBEY(function, __VA_ARGS__);                          \
        (void)fault;                                          \
        return rv;                                            \
    }

PLAIN(C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), slot, info)
PLAIN(C_OpenSession, (CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
      CK_SESSION_HANDLE *session), slot, flags, app, notify, session)
PLAIN(C_CloseSession, (CK_SESSION_HANDLE session), session)
PLAIN(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG size),
      session, user, pin, size)
PLAIN(C_CreateObject, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
      CK_OBJECT_HANDLE *object), session, template, count, object)
PLAIN(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), session, object)
PLAIN(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count),
      session, template, count)
PLAIN(C_GenerateKey, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template,
      CK_ULONG count, CK_OBJECT_HANDLE *key), session, mechanism, template, count, key)
PLAIN(C_GenerateKeyPair, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
      CK_ATTRIBUTE *public, CK_ULONG publics, CK_ATTRIBUTE *private, CK_ULONG privates,
      CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key),
      session, mechanism, public, publics, private, privates, public_key, private_key)
PLAIN(C_WrapKey, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
      CK_OBJECT_HANDLE key, unsigned char *blob, CK_ULONG *size),
      session, mechanism, kek, key, blob, size)
PLAIN(C_UnwrapKey, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
      unsigned char *blob, CK_ULONG size, CK_ATTRIBUTE *template, CK_ULONG count,
      CK_OBJECT_HANDLE *key), session, mechanism, kek, blob, size, template, count, key)

static CK_RV shim_C_Sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG size,
                         unsigned char *signature, CK_ULONG *signature_size)
{
    if (!signature) /* only the size is asked for */
        return real->C_Sign(session, data, size, signature, signature_size);
    OBEY(C_Sign, session, data, size, signature, signature_size);
    if (fault == FLIP && rv == CKR_OK)
        signature[*signature_size - 1] ^= 1;
    return rv;
}

static CK_RV shim_C_Encrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG size,
                            unsigned char *output, CK_ULONG *output_size)
{
    if (!output)
        return real->C_Encrypt(session, data, size, output, output_size);
    OBEY(C_Encrypt, session, data, size, output, output_size);
    if (fault == FLIP && rv == CKR_OK && *output_size)
        output[*output_size - 1] ^= 1;
    return rv;
}

static CK_RV shim_C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                      CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    OBEY(C_GetAttributeValue, session, object, attributes, count);
    for (CK_ULONG i = 0; fault == FLIP && rv == CKR_OK && i < count; i++)
        if (attributes[i].type == CKA_EXTRACTABLE && attributes[i].pValue)
            *(unsigned char *)attributes[i].pValue ^= 1;
    return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **answer)
{
    CK_RV (*get)(CK_FUNCTION_LIST **);
    void *target = dlopen(getenv("FAULT_TARGET"), RTLD_NOW);
    if (!target || !(get = dlsym(target, "C_GetFunctionList")) || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    list = *real;
    list.C_GetFunctionList = C_GetFunctionList;
    list.C_GetTokenInfo = shim_C_GetTokenInfo;
    list.C_OpenSession = shim_C_OpenSession;
    list.C_CloseSession = shim_C_CloseSession;
    list.C_Login = shim_C_Login;
    list.C_CreateObject = shim_C_CreateObject;
    list.C_DestroyObject = shim_C_DestroyObject;
    list.C_FindObjectsInit = shim_C_FindObjectsInit;
    list.C_GenerateKey = shim_C_GenerateKey;
    list.C_GenerateKeyPair = shim_C_GenerateKeyPair;
    list.C_WrapKey = shim_C_WrapKey;
    list.C_UnwrapKey = shim_C_UnwrapKey;
    list.C_Sign = shim_C_Sign;
    list.C_Encrypt = shim_C_Encrypt;
    list.C_GetAttributeValue = shim_C_GetAttributeValue;
    *answer = &list;
    return CKR_OK;
}
