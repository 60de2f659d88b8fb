/* A test harness in one header: checks that say what they found, tests that run one after the other. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A test that takes longer than this is stuck: the process dies of SIGALRM. */
#define TEST_SECONDS 600

static const char *check_test = "?";

__attribute__ ((noreturn)) static inline void
check_failed (const char *file, int line, const char *what, long long got, long long want)
{
  fprintf (stderr, "FAILED %s: %s:%d: %s: got %lld, want %lld\n", check_test, file, line, what, got, want);
  exit (1);
}

#define CHECK_EQ(got, want)                                                                                            \
  do                                                                                                                   \
    {                                                                                                                  \
      long long check_got = (long long) (got), check_want = (long long) (want);                                        \
      if (check_got != check_want)                                                                                     \
	check_failed (__FILE__, __LINE__, #got, check_got, check_want);                                                \
    }                                                                                                                  \
  while (0)

#define CHECK(condition) CHECK_EQ (!!(condition), 1)
#define CHECK_OK(call) CHECK_EQ (call, MEMIF_ERR_SUCCESS)
#define CHECK_STR(got, want)                                                                                           \
  do                                                                                                                   \
    {                                                                                                                  \
      const char *check_str = (const char *) (got);                                                                    \
      if (strcmp (check_str, want) != 0)                                                                               \
	{                                                                                                              \
	  fprintf (stderr, "text is \"%s\", wanted \"%s\"\n", check_str, want);                                        \
	  check_failed (__FILE__, __LINE__, #got, 0, 1);                                                               \
	}                                                                                                              \
    }                                                                                                                  \
  while (0)

typedef struct
{
  const char *name;
  void (*run) (void);
} check_case_t;

#define CASE(function)                                                                                                 \
  {                                                                                                                    \
    #function, function                                                                                                \
  }

/* Runs all tests, or the one that argv[1] names. */
static inline int
check_main (int argc, char **argv, const check_case_t *cases, size_t count)
{
  size_t ran = 0;
  for (size_t i = 0; i < count; i++)
    {
      if (argc > 1 && strcmp (argv[1], cases[i].name) != 0)
	continue;
      check_test = cases[i].name;
      alarm (TEST_SECONDS);
      cases[i].run ();
      alarm (0);
      ran++;
    }
  printf ("%s: %zu tests passed\n", argv[0], ran);
  return ran > 0 ? 0 : 1;
}

#define CHECK_MAIN(cases)                                                                                              \
  int main (int argc, char **argv) { return check_main (argc, argv, cases, sizeof cases / sizeof cases[0]); }

#endif /* CHECK_H */
