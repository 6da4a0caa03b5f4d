/*
 * A native library whose functions are not exported, but for the first, and have the names that compilers give to those of
 * Rust and C++ (tests/tracer/native_test.ts).
 */
#include <stdint.h>
#include <stdlib.h>

void *kept_by_mixed[64];
static unsigned kept;

#define HIDDEN __attribute__((noinline, visibility("hidden")))

/* <mixed::Shelf as core::Keep>::keep */
HIDDEN void keep(uint32_t size) __asm__("_ZN43_$LT$mixed..Shelf$u20$as$u20$core..Keep$GT$4keep17h0123456789abcdefE");
/* Of rustc 1.95, mangled as "v0". */
HIDDEN void find(uint32_t size) __asm__("_RNvMs_Cs6xxl1lAjzDf_1aINtB4_5ShelfKj7_NtNtCslNYArtu3iFV_5alloc6string6StringEu7dnn_hoaB4_");
HIDDEN void call(uint32_t size) __asm__(
    "_RINvCs6xxl1lAjzDf_1a2idINtNtCslNYArtu3iFV_5alloc5boxed3BoxDG_INtNtNtCsgEmfK2I1SDS_4core3ops8function2FnTRL0_eEEp6"
    "OutputIBm_DNtNtB14_3fmt7DisplayNtNtB14_6marker4SendEL0_EB2i_EL_EEB2_");
/* mixed::shelf(unsigned int) */
HIDDEN void shelf(uint32_t size) __asm__("_ZN5mixed5shelfEj");

void keep(uint32_t size) {
    if (!(kept_by_mixed[kept] = malloc(size))) abort();
    kept++;
}

void call(uint32_t size) {
    keep(size);
    kept_by_mixed[59] = &kept;
}

void find(uint32_t size) {
    call(size);
    kept_by_mixed[58] = &kept;
}

void shelf(uint32_t size) {
    find(size);
    kept_by_mixed[63] = &kept; /* no tail call */
}

static __attribute__((noinline)) void plain(uint32_t size) {
    shelf(size);
    kept_by_mixed[62] = &kept;
}

void keep_mixed(uint32_t size) {
    plain(size);
    kept_by_mixed[61] = &kept;
}

typedef void (*callback)(void);

void call_mixed(callback call) {
    call();
    kept_by_mixed[60] = &kept;
}
