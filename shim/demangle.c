/*
 * Both of Rust's ways to mangle names: the older, which looks like C++'s, and "v0", as it is specified in
 * https://doc.rust-lang.org/rustc/symbol-mangling/v0.html. What it shows is as short as can be: without hashes of crates and
 * types of constants.
 */
#include "demangle.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* ---- the older form: "_ZN" (length part)... "17h" 16 digits "E"; the hash says nothing to anyone ---- */

static bool demangle_older(const char *name, char *out, size_t size) {
    static const struct {
        const char *escape, *text;
    } escapes[] = {{"$LT$", "<"}, {"$GT$", ">"}, {"$RF$", "&"}, {"$BP$", "*"}, {"$LP$", "("}, {"$RP$", ")"},
                   {"$C$", ","},  {"$u20$", " "}, {"$u7b$", "{"}, {"$u7d$", "}"}, {"$u27$", "'"}, {"$u5b$", "["},
                   {"$u5d$", "]"}, {"$u3b$", ";"}, {"..", "::"}};
    size_t length = strlen(name), used = 0;
    if (length < 24 || strncmp(name, "_ZN", 3) || strncmp(name + length - 20, "17h", 3) || name[length - 1] != 'E') return false;
    const char *at = name + 3, *end = name + length - 20;
    while (at < end) {
        char *rest;
        unsigned long part = strtoul(at, &rest, 10);
        if (rest == at || !part || part > (size_t)(end - rest)) return false;
        const char *stop = rest + part;
        at = rest;
        if (*at == '_' && part > 1 && at[1] == '$') at++;
        if (used && used + 2 < size) used += (size_t)snprintf(out + used, size - used, "::");
        while (at < stop) {
            const char *text = NULL;
            for (size_t i = 0; i < sizeof escapes / sizeof *escapes && !text; i++) {
                size_t escape = strlen(escapes[i].escape);
                if (escape > (size_t)(stop - at) || strncmp(at, escapes[i].escape, escape)) continue;
                text = escapes[i].text;
                at += escape;
            }
            char one[2] = {0, 0};
            if (!text) one[0] = *at++;
            int more = snprintf(out + used, size - used, "%s", text ? text : one);
            if (more < 0 || (size_t)more >= size - used) return false;
            used += (size_t)more;
        }
    }
    return used > 0;
}

/* ---- v0 ---- */

#define MOST_NESTED 200
#define MOST_STEPS 20000 /* references back can make a short name without end */

typedef struct parser {
    const char *start, *at, *end;
    char *out;
    size_t used, size;
    uint64_t bound; /* lifetimes, by the binders around */
    int nested, steps;
    bool silent, failed;
} parser;

static void fail(parser *p) { p->failed = true; }

static void put_bytes(parser *p, const char *text, size_t length) {
    if (p->silent || p->failed) return;
    if (length >= p->size - p->used) return fail(p);
    memcpy(p->out + p->used, text, length);
    p->used += length;
}

static void put(parser *p, const char *text) { put_bytes(p, text, strlen(text)); }

static void put_number(parser *p, uint64_t number) {
    char digits[24];
    put_bytes(p, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number));
}

static char peek(const parser *p) { return p->at < p->end ? *p->at : 0; }
static char next(parser *p) {
    if (p->at < p->end) return *p->at++;
    fail(p);
    return 0;
}
static bool take(parser *p, char wanted) {
    if (peek(p) != wanted) return false;
    p->at++;
    return true;
}

/* One more level of what nests; false: it is too deep, or there has been too much. */
static bool enter(parser *p) {
    if (++p->nested > MOST_NESTED || ++p->steps > MOST_STEPS) fail(p);
    return !p->failed;
}
static void leave(parser *p) { p->nested--; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static uint64_t base_62(parser *p) {
    uint64_t value = 0;
    if (take(p, '_')) return 0;
    while (!p->failed && !take(p, '_')) {
        char c = next(p);
        uint64_t digit = is_digit(c) ? (uint64_t)(c - '0') : c >= 'a' && c <= 'z' ? (uint64_t)(c - 'a') + 10 : (uint64_t)(c - 'A') + 36;
        if (digit > 61 || value > (UINT64_MAX - 62) / 62) fail(p);
        value = value * 62 + digit;
    }
    return value + 1;
}

/* What may stand behind a letter, from 1; 0 where the letter does not come. */
static uint64_t optional(parser *p, char letter) { return take(p, letter) ? base_62(p) + 1 : 0; }

static uint64_t decimal(parser *p) {
    uint64_t value = 0;
    if (!is_digit(peek(p))) fail(p);
    if (take(p, '0')) return 0;
    while (is_digit(peek(p)) && !p->failed) {
        if (value > 1u << 20) fail(p);
        value = value * 10 + (uint64_t)(next(p) - '0');
    }
    return value;
}

/* ---- identifiers ---- */

typedef struct identifier {
    const char *text;
    size_t length;
    bool punycode;
    uint64_t number; /* of several that are called alike */
} identifier;

static identifier undisambiguated(parser *p) {
    identifier i = {.punycode = take(p, 'u')};
    i.length = decimal(p);
    take(p, '_');
    if (i.length > (size_t)(p->end - p->at)) fail(p);
    if (p->failed) return (identifier){0};
    i.text = p->at;
    p->at += i.length;
    return i;
}

static identifier read_identifier(parser *p) {
    uint64_t number = optional(p, 's');
    identifier i = undisambiguated(p);
    i.number = number;
    return i;
}

#define MOST_CHARACTERS 128

/* RFC 3492, with "_" for the delimiter. */
static bool put_punycode(parser *p, const identifier *i) {
    uint32_t characters[MOST_CHARACTERS];
    size_t count = 0, at = 0, basic = i->length;
    while (basic && i->text[basic - 1] != '_') basic--;
    if (basic > MOST_CHARACTERS) return false;
    for (; count + 1 < basic; count++) characters[count] = (uint8_t)i->text[count];
    uint32_t c = 128, bias = 72, place = 0;
    for (at = basic; at < i->length;) {
        uint32_t before = place, weight = 1;
        for (uint32_t k = 36;; k += 36) {
            if (at == i->length) return false;
            char letter = i->text[at++];
            uint32_t digit = letter >= 'a' && letter <= 'z' ? (uint32_t)(letter - 'a') : is_digit(letter) ? (uint32_t)(letter - '0') + 26 : 36;
            if (digit > 35 || digit > (UINT32_MAX - place) / weight) return false;
            place += digit * weight;
            uint32_t t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
            if (digit < t) break;
            if (weight > UINT32_MAX / (36 - t)) return false;
            weight *= 36 - t;
        }
        uint32_t points = (uint32_t)++count, delta = (place - before) / (before ? 2 : 700);
        if (points > MOST_CHARACTERS) return false;
        delta += delta / points;
        for (bias = 0; delta > 455; bias += 36) delta /= 35;
        bias += 36 * delta / (delta + 38);
        if (place / points > 0x10ffff - c) return false;
        c += place / points;
        place %= points;
        memmove(characters + place + 1, characters + place, (count - 1 - place) * sizeof *characters);
        characters[place++] = c;
    }
    for (size_t n = 0; n < count; n++) {
        char bytes[4];
        put_bytes(p, bytes, tm_utf8(characters[n], bytes));
    }
    return true;
}

static void put_identifier(parser *p, const identifier *i) {
    if (p->failed || (i->punycode && put_punycode(p, i))) return;
    if (i->punycode) put(p, "punycode{");
    put_bytes(p, i->text, i->length);
    if (i->punycode) put(p, "}");
}

/* ---- paths, types, constants ---- */

static void path(parser *p, bool in_value);
static void type(parser *p);
static void constant(parser *p);

/* Goes back to where the same stood before; returns to where that was said. */
static void back(parser *p, void (*what)(parser *)) {
    const char *said = p->at - 1;
    uint64_t to = base_62(p);
    if (p->failed || to >= (uint64_t)(said - p->start)) return fail(p);
    if (p->silent) return;
    const char *here = p->at;
    p->at = p->start + to;
    what(p);
    p->at = here;
}

static void path_in_value(parser *p) { path(p, true); }
static void path_in_type(parser *p) { path(p, false); }

static void put_lifetime(parser *p, uint64_t index) {
    if (!index) return put(p, "'_");
    if (index > p->bound) return fail(p);
    uint64_t depth = p->bound - index;
    char letter[3] = {'\'', (char)('a' + depth % 26), 0};
    if (depth < 26) return put(p, letter);
    put(p, "'_");
    put_number(p, depth);
}

/* "for<'a, 'b> " before what the lifetimes are bound for; they have to be unbound again. */
static uint64_t bind(parser *p) {
    uint64_t count = optional(p, 'G');
    if (!count || p->failed) return 0;
    if (count > 100) return fail(p), 0;
    put(p, "for<");
    for (uint64_t i = 0; i < count; i++) {
        if (i) put(p, ", ");
        p->bound++;
        put_lifetime(p, 1);
    }
    put(p, "> ");
    return count;
}

static void generic_argument(parser *p) {
    if (take(p, 'L')) put_lifetime(p, base_62(p));
    else if (take(p, 'K')) constant(p);
    else type(p);
}

static void generic_arguments(parser *p) {
    for (int i = 0; !p->failed && !take(p, 'E'); i++) {
        if (i) put(p, ", ");
        generic_argument(p);
    }
}

/* Where an implementation stands is of no interest beside what it is of. */
static void skip_place(parser *p) {
    bool silent = p->silent;
    p->silent = true;
    optional(p, 's');
    path(p, false);
    p->silent = silent;
}

static void nested_name(parser *p, bool in_value) {
    char namespace = next(p);
    bool special = namespace >= 'A' && namespace <= 'Z';
    if (!special && !(namespace >= 'a' && namespace <= 'z')) return fail(p);
    path(p, in_value);
    identifier name = read_identifier(p);
    if (!special) {
        if (name.length) put(p, "::");
        return put_identifier(p, &name);
    }
    char other[2] = {namespace, 0};
    put(p, "::{");
    put(p, namespace == 'C' ? "closure" : namespace == 'S' ? "shim" : other);
    if (name.length) put(p, ":");
    put_identifier(p, &name);
    put(p, "#");
    put_number(p, name.number);
    put(p, "}");
}

static void path(parser *p, bool in_value) {
    if (!enter(p)) return;
    char tag = next(p);
    identifier name;
    switch (tag) {
    case 'C':
        name = read_identifier(p);
        put_identifier(p, &name);
        break;
    case 'N': nested_name(p, in_value); break;
    case 'M':
    case 'X': skip_place(p); /* fall through */
    case 'Y':
        put(p, "<");
        type(p);
        if (tag != 'M') {
            put(p, " as ");
            path(p, false);
        }
        put(p, ">");
        break;
    case 'I':
        path(p, in_value);
        put(p, in_value ? "::<" : "<");
        generic_arguments(p);
        put(p, ">");
        break;
    case 'B': back(p, in_value ? path_in_value : path_in_type); break;
    default: fail(p);
    }
    leave(p);
}

static const char *basic_type(char tag) {
    static const struct {
        char tag;
        const char *name;
    } types[] = {{'a', "i8"},  {'b', "bool"}, {'c', "char"}, {'d', "f64"}, {'e', "str"},   {'f', "f32"}, {'h', "u8"}, {'i', "isize"},
                 {'j', "usize"}, {'l', "i32"},  {'m', "u32"},  {'n', "i128"}, {'o', "u128"}, {'p', "_"},   {'s', "i16"}, {'t', "u16"},
                 {'u', "()"},  {'v', "..."},  {'x', "i64"},  {'y', "u64"}, {'z', "!"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].tag == tag) return types[i].name;
    return NULL;
}

static void function_type(parser *p) {
    uint64_t bound = bind(p);
    if (take(p, 'U')) put(p, "unsafe ");
    if (take(p, 'K')) {
        put(p, "extern \"");
        if (take(p, 'C')) put(p, "C");
        else {
            identifier abi = undisambiguated(p);
            for (size_t i = 0; i < abi.length; i++) put_bytes(p, abi.text[i] == '_' ? "-" : abi.text + i, 1);
        }
        put(p, "\" ");
    }
    put(p, "fn(");
    for (int i = 0; !p->failed && !take(p, 'E'); i++) {
        if (i) put(p, ", ");
        type(p);
    }
    put(p, ")");
    if (!take(p, 'u')) {
        put(p, " -> ");
        type(p);
    }
    p->bound -= bound;
}

/* A trait with its associated types: they go between the brackets of its arguments, if it has some. */
static void trait_with_bindings(parser *p) {
    bool open = false;
    if (peek(p) == 'I') {
        p->at++;
        path(p, false);
        put(p, "<");
        generic_arguments(p);
        open = true;
    } else {
        path(p, false);
    }
    while (!p->failed && take(p, 'p')) {
        put(p, open ? ", " : "<");
        open = true;
        identifier name = undisambiguated(p);
        put_identifier(p, &name);
        put(p, " = ");
        type(p);
    }
    if (open) put(p, ">");
}

static void dynamic_type(parser *p) {
    put(p, "dyn ");
    uint64_t bound = bind(p);
    for (int i = 0; !p->failed && !take(p, 'E'); i++) {
        if (i) put(p, " + ");
        trait_with_bindings(p);
    }
    p->bound -= bound;
    if (!take(p, 'L')) return fail(p);
    uint64_t lifetime = base_62(p);
    if (!lifetime) return;
    put(p, " + ");
    put_lifetime(p, lifetime);
}

static void reference(parser *p, bool mutable) {
    put(p, "&");
    if (take(p, 'L')) {
        uint64_t lifetime = base_62(p);
        if (lifetime) {
            put_lifetime(p, lifetime);
            put(p, " ");
        }
    }
    if (mutable) put(p, "mut ");
    type(p);
}

static void type(parser *p) {
    const char *basic = basic_type(peek(p));
    if (basic) {
        p->at++;
        return put(p, basic);
    }
    if (!enter(p)) return;
    char tag = next(p);
    int count = 0;
    switch (tag) {
    case 'A':
    case 'S':
        put(p, "[");
        type(p);
        if (tag == 'A') {
            put(p, "; ");
            constant(p);
        }
        put(p, "]");
        break;
    case 'T':
        put(p, "(");
        for (; !p->failed && !take(p, 'E'); count++) {
            if (count) put(p, ", ");
            type(p);
        }
        put(p, count == 1 ? ",)" : ")");
        break;
    case 'R':
    case 'Q': reference(p, tag == 'Q'); break;
    case 'P':
    case 'O':
        put(p, tag == 'P' ? "*const " : "*mut ");
        type(p);
        break;
    case 'F': function_type(p); break;
    case 'D': dynamic_type(p); break;
    case 'B': back(p, type); break;
    default:
        p->at--;
        path(p, false);
    }
    leave(p);
}

/* Numbers, as hexadecimal digits; their value, if it fits. */
static void integer(parser *p) {
    const char *digits = p->at;
    uint64_t value = 0;
    while (!p->failed && !take(p, '_')) {
        char c = next(p);
        if (!is_digit(c) && !(c >= 'a' && c <= 'f')) fail(p);
        value = value << 4 | (uint64_t)(is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    if (p->failed) return;
    size_t length = (size_t)(p->at - 1 - digits);
    if (length <= 16) return put_number(p, value);
    put(p, "0x");
    put_bytes(p, digits, length);
}

static void constant(parser *p) {
    if (!enter(p)) return;
    char tag = next(p);
    if (tag == 'p') {
        put(p, "_");
    } else if (tag == 'B') {
        back(p, constant);
    } else if (tag == 'b') {
        char digit = next(p);
        if ((digit != '0' && digit != '1') || !take(p, '_')) fail(p);
        put(p, digit == '1' ? "true" : "false");
    } else if (tag && strchr("aslxnihtmyoj", tag)) {
        if (take(p, 'n')) put(p, "-");
        integer(p);
    } else {
        fail(p);
    }
    leave(p);
}

static bool demangle_v0(const char *name, char *out, size_t size) {
    if (strncmp(name, "_R", 2) || !size) return false;
    const char *start = name + 2, *end = start;
    while ((*end >= '0' && *end <= '9') || (*end >= 'a' && *end <= 'z') || (*end >= 'A' && *end <= 'Z') || *end == '_') end++;
    if (*end && *end != '.' && *end != '$') return false;
    if (is_digit(*start)) return false; /* a version of the mangling that is not known yet */
    parser p = {.start = start, .at = start, .end = end, .out = out, .size = size};
    path(&p, true);
    if (!p.failed && p.at < p.end) { /* the crate that made this copy of what is generic */
        p.silent = true;
        path(&p, false);
    }
    if (p.failed || p.at != p.end || !p.used) return false;
    out[p.used] = 0;
    return true;
}

bool tm_demangle_rust(const char *name, char *out, size_t size) { return demangle_v0(name, out, size) || demangle_older(name, out, size); }
