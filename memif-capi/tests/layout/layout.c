/* The compiler checks sizes, offsets and numbers of HEADER against the table that LAYOUT names; the program prints them,
   and looks at what offsetof cannot. */
#include HEADER
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define SIZE(type, bytes) _Static_assert (sizeof (type) == (bytes), #type);
#define FIELD(type, field, offset) _Static_assert (offsetof (type, field) == (offset), #type "." #field);
#define BITS(type, field, offset)
#define VALUE(name, number) _Static_assert ((int) (name) == (number), #name);
#include LAYOUT
#undef SIZE
#undef FIELD
#undef BITS
#undef VALUE

/* Where the first byte is that setting a bit field changes. */
#define BITS(type, field, offset)                                                                                      \
  {                                                                                                                    \
    type value;                                                                                                        \
    memset (&value, 0, sizeof value);                                                                                  \
    value.field = MEMIF_INTERFACE_MODE_PUNT_INJECT;                                                                    \
    const unsigned char *bytes = (const unsigned char *) &value;                                                       \
    size_t at = 0;                                                                                                     \
    while (at < sizeof value && bytes[at] == 0)                                                                        \
      at++;                                                                                                            \
    printf (#type "." #field " %zu\n", at);                                                                            \
    wrong += at != (offset);                                                                                           \
  }
#define SIZE(type, bytes) printf (#type " %zu\n", sizeof (type));
#define FIELD(type, field, offset) printf (#type "." #field " %zu\n", offsetof (type, field));
#define VALUE(name, number) printf (#name " %d\n", (int) (name));

int
main (void)
{
  int wrong = 0;
#include LAYOUT
  return wrong;
}
