// SPDX-License-Identifier: GPL-2.0
/*
 * Provokes the kernel report whose name is written to /sys/module/complain/parameters/now.
 *
 * Used to make golden logs for tools that read kernel reports. Copy this file into lib/ of a tree
 * and build it in, see complaints/__main__.py. Each way is a separate function, so that the report
 * names it. Most ways need an option: KASAN, lockdep, SLUB's debugging, a lockup detector.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irq_work.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <asm/apic.h>
#include <asm/msr.h>

#define WAY static noinline void

static volatile int sink;
static volatile int zero;
static char global_buffer[16];
static int shared_word;

static DEFINE_MUTEX(first_mutex);
static DEFINE_MUTEX(second_mutex);
static DEFINE_SPINLOCK(first_lock);
static DEFINE_SPINLOCK(second_lock);
static DEFINE_SPINLOCK(irq_lock);
static DEFINE_RAW_SPINLOCK(raw_lock);

static void *fresh(size_t size)
{
	void *memory = kmalloc(size, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(memory);
	return memory;
}

/* --- memory ------------------------------------------------------------------------------- */

WAY oob_read(void)
{
	char *p = fresh(40);

	sink = READ_ONCE(p[41 + zero]);
	kfree(p);
}

WAY oob_write(void)
{
	char *p = fresh(40);

	WRITE_ONCE(p[40 + zero], 1);
	kfree(p);
}

WAY uaf_read(void)
{
	char *p = fresh(64);

	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	sink = READ_ONCE(p[8]);
}

WAY uaf_write(void)
{
	char *p = fresh(64);

	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[8], 1);
}

WAY double_kfree(void)
{
	char *p = fresh(64);
	char *q = p;

	kfree(p);
	OPTIMIZER_HIDE_VAR(q);
	kfree(q);
}

WAY invalid_kfree(void)
{
	char *p = fresh(64);
	char *q = p + 8;

	OPTIMIZER_HIDE_VAR(q);
	kfree(q);
}

WAY stack_oob(void)
{
	char buffer[16];
	volatile int index = 16;

	memset(buffer, 0, sizeof(buffer));
	OPTIMIZER_HIDE_VAR(index);
	sink = *(volatile char *)(buffer + index);
}

WAY global_oob(void)
{
	volatile int index = sizeof(global_buffer) + 2;

	sink = *(volatile char *)(global_buffer + index);
}

WAY vmalloc_oob(void)
{
	char *p = vmalloc(4000);

	OPTIMIZER_HIDE_VAR(p);
	sink = READ_ONCE(p[4100]);
	vfree(p);
}

WAY wild_access(void)
{
	sink = READ_ONCE(*(int *)0xdead4ead00000010UL);
}

WAY kfence_uaf(void)
{
	int i;

	for (i = 0; i < 4000; i++) {
		char *p = fresh(32);

		kfree(p);
		OPTIMIZER_HIDE_VAR(p);
		sink = READ_ONCE(p[4]);
		if (!(i % 64))
			msleep(2);
	}
}

WAY kfence_oob(void)
{
	int i;

	for (i = 0; i < 4000; i++) {
		char *p = fresh(32);

		OPTIMIZER_HIDE_VAR(p);
		sink = READ_ONCE(p[-1]);
		sink = READ_ONCE(p[32]);
		if (!(i % 64))
			msleep(2);
		kfree(p);
	}
}

WAY slub_redzone(void)
{
	char *p = fresh(64);

	WRITE_ONCE(p[64 + zero], 0x11);
	kfree(p);
}

WAY slub_poison(void)
{
	char *p = fresh(64);
	int i;

	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[20], 0x11);
	for (i = 0; i < 200; i++)
		fresh(64);
}

WAY slub_double_free(void)
{
	double_kfree();
}

WAY cache_destroyed_in_use(void)
{
	struct kmem_cache *cache = kmem_cache_create("complain", 48, 0, SLAB_POISON, NULL);
	void *object = kmem_cache_alloc(cache, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(object);
	kmem_cache_destroy(cache);
}

WAY page_freed_while_mapped(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	page->mapping = (void *)0x1000;
	__free_page(page);
}

WAY leak(void)
{
	int i;

	for (i = 0; i < 8; i++)
		memset(fresh(111), 1, 111);
}

/* --- traps -------------------------------------------------------------------------------- */

WAY null_read(void)
{
	sink = READ_ONCE(*(int *)(0x18UL + zero));
}

WAY null_write(void)
{
	WRITE_ONCE(*(int *)(0x20UL + zero), 1);
}

WAY bad_page_fault(void)
{
	sink = READ_ONCE(*(int *)0xffffc90fff000000UL);
}

WAY write_text(void)
{
	unsigned char *p = (void *)fresh;

	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(*p, 0x90);
}

WAY non_canonical(void)
{
	unsigned long address = 0x1122334455667788UL;

	OPTIMIZER_HIDE_VAR(address);
	asm volatile("movl (%0), %%eax" : : "r" (address) : "eax");
}

WAY divide_by_zero(void)
{
	asm volatile("xorl %%edx, %%edx; movl $1, %%eax; divl %0" : : "r" (zero) : "eax", "edx");
}

WAY undefined_opcode(void)
{
	asm volatile(".byte 0x0f, 0xff, 0xc0");
}

WAY stack_segment(void)
{
	asm volatile("pushq %%rbp; movq %0, %%rbp; movl 8(%%rbp), %%eax; popq %%rbp"
		     : : "r" (0x1122334455667788UL) : "eax");
}

WAY segment_not_present(void)
{
	asm volatile("movw %w0, %%fs" : : "r" (0x7ff8));
}

WAY breakpoint(void)
{
	asm volatile("int3");
}

WAY call_null(void)
{
	void (*f)(void) = NULL;

	OPTIMIZER_HIDE_VAR(f);
	f();
}

WAY call_data(void)
{
	void (*f)(void) = (void *)global_buffer;

	OPTIMIZER_HIDE_VAR(f);
	f();
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winfinite-recursion"
static noinline int use_stack(int depth)
{
	volatile char frame[512];

	frame[depth & 255] = depth;
	return use_stack(depth + 1) + frame[(depth + 1) & 255];
}
#pragma GCC diagnostic pop

WAY stack_overflow(void)
{
	sink = use_stack(0);
}

WAY bad_msr_write(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	wrmsrq(0xdeadbee, 1);
#else
	wrmsrl(0xdeadbee, 1);
#endif
}

WAY bad_msr_read(void)
{
	u64 value;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	rdmsrq(0xdeadbee, value);
#else
	rdmsrl(0xdeadbee, value);
#endif
	sink = value;
}

WAY null_in_irq_body(void)
{
	sink = READ_ONCE(*(int *)0x30);
}

static void irq_handler(struct irq_work *work)
{
	null_in_irq_body();
}

WAY null_in_irq(void)
{
	static struct irq_work work;

	init_irq_work(&work, irq_handler);
	irq_work_queue(&work);
}

/* --- assertions --------------------------------------------------------------------------- */

WAY plain_bug(void)
{
	BUG();
}

WAY plain_warn(void)
{
	WARN_ON(1 + zero);
}

WAY warn_with_message(void)
{
	WARN(1, "uintr: vector %d is taken\n", 7);
}

WAY warn_once(void)
{
	WARN_ONCE(!zero, "uintr: told once\n");
}

static void warn_here(void *unused)
{
	WARN(1, "uintr: on each CPU\n");
}

WAY warn_everywhere(void)
{
	on_each_cpu(warn_here, NULL, 1);
}

static int warn_thread(void *unused)
{
	int i;

	for (i = 0; i < 3; i++) {
		WARN(1, "uintr: from a thread\n");
		msleep(20);
	}
	return 0;
}

WAY warn_in_two_threads(void)
{
	struct task_struct *task;
	int i;

	for (i = 0; i < 2; i++) {
		task = kthread_create(warn_thread, NULL, "warner/%d", i);
		kthread_bind(task, i);
		wake_up_process(task);
	}
	msleep(2000);
}

WAY refcount_underflow(void)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_dec(&count);
}

WAY refcount_uaf(void)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

WAY refcount_saturated(void)
{
	refcount_t count = REFCOUNT_INIT(INT_MAX);

	refcount_inc(&count);
}

WAY refcount_sub(void)
{
	refcount_t count = REFCOUNT_INIT(1);

	sink = refcount_sub_and_test(3, &count);
}

WAY list_add_corrupt(void)
{
	struct list_head head = LIST_HEAD_INIT(head), good, bad;

	list_add(&good, &head);
	good.prev = &bad;
	list_add(&bad, &head);
}

WAY list_add_twice(void)
{
	static LIST_HEAD(head);
	static struct list_head entry;

	list_add(&entry, &head);
	list_add(&entry, &head);
}

WAY list_del_twice(void)
{
	static LIST_HEAD(head);
	static struct list_head entry;

	list_add(&entry, &head);
	list_del(&entry);
	list_del(&entry);
}

WAY list_del_corrupt(void)
{
	static LIST_HEAD(head);
	static struct list_head entry, other;

	list_add(&entry, &head);
	list_add(&other, &head);
	entry.next = &other;
	list_del(&entry);
}

WAY ubsan_shift(void)
{
	volatile int by = 40;

	sink = 1 << by;
}

WAY ubsan_bounds(void)
{
	static int numbers[8];
	volatile int index = 11;

	numbers[index] = 1;
	sink = numbers[index];
}

WAY ubsan_bool(void)
{
	volatile unsigned char raw = 7;
	volatile bool value;

	*(volatile unsigned char *)&value = raw;
	sink = value;
}

WAY timer_freed(void)
{
	struct timer_list *timer = kzalloc(sizeof(*timer), GFP_KERNEL);

	timer_setup(timer, NULL, 0);
	timer->expires = jiffies + 100 * HZ;
	add_timer(timer);
	kfree(timer);
}

WAY timer_set_up_twice(void)
{
	static struct timer_list timer;

	timer_setup(&timer, NULL, 0);
	timer.expires = jiffies + 1000 * HZ;
	add_timer(&timer);
	timer_setup(&timer, NULL, 0);
}

WAY sysfs_duplicate(void)
{
	kobject_create_and_add("complain_twice", kernel_kobj);
	kobject_create_and_add("complain_twice", kernel_kobj);
}

WAY kobject_uninitialized(void)
{
	static struct kobject object;

	kobject_put(&object);
}

WAY memcpy_overflow(void)
{
	struct { char small[8]; char rest[24]; } target;
	volatile size_t length = 20;

	memset(&target, 0, sizeof(target));
	memcpy(target.small, global_buffer, length);
	sink = target.rest[3];
}

/* --- locks -------------------------------------------------------------------------------- */

WAY lock_ab(void)
{
	mutex_lock(&first_mutex);
	mutex_lock(&second_mutex);
	mutex_unlock(&second_mutex);
	mutex_unlock(&first_mutex);
}

WAY circular(void)
{
	lock_ab();
	mutex_lock(&second_mutex);
	mutex_lock(&first_mutex);
	mutex_unlock(&first_mutex);
	mutex_unlock(&second_mutex);
}

WAY recursive(void)
{
	static struct mutex pair[2];
	int i;

	for (i = 0; i < 2; i++)
		mutex_init(&pair[i]);
	mutex_lock(&pair[0]);
	mutex_lock(&pair[1]);
	mutex_unlock(&pair[1]);
	mutex_unlock(&pair[0]);
}

static void take_irq_lock(struct irq_work *work)
{
	spin_lock(&irq_lock);
	spin_unlock(&irq_lock);
}

static void use_irq_lock_in_irq(void)
{
	static struct irq_work work;

	work = IRQ_WORK_INIT_HARD(take_irq_lock);
	irq_work_queue(&work);
	irq_work_sync(&work);
}

WAY inconsistent(void)
{
	use_irq_lock_in_irq();
	spin_lock(&irq_lock);
	spin_unlock(&irq_lock);
}

WAY irq_dependency(void)
{
	unsigned long flags;

	use_irq_lock_in_irq();
	spin_lock(&second_lock);
	spin_unlock(&second_lock);
	spin_lock_irqsave(&irq_lock, flags);
	spin_lock(&second_lock);
	spin_unlock(&second_lock);
	spin_unlock_irqrestore(&irq_lock, flags);
}

WAY irq_inversion(void)
{
	unsigned long flags;

	spin_lock_irqsave(&irq_lock, flags);
	spin_lock(&second_lock);
	spin_unlock(&second_lock);
	spin_unlock_irqrestore(&irq_lock, flags);
	spin_lock(&second_lock);
	spin_unlock(&second_lock);
	use_irq_lock_in_irq();
}

WAY unlock_unlocked(void)
{
	spin_unlock(&first_lock);
}

WAY held_lock_freed(void)
{
	struct mutex *mutex = kmalloc(sizeof(*mutex), GFP_KERNEL);

	mutex_init(mutex);
	mutex_lock(mutex);
	kfree(mutex);
}

WAY return_with_lock(void)
{
	mutex_lock(&first_mutex);
}

static int exit_with_lock(void *unused)
{
	mutex_lock(&first_mutex);
	return 0;
}

WAY exit_holding_lock(void)
{
	kthread_run(exit_with_lock, NULL, "leaver");
	msleep(500);
}

WAY wait_context(void)
{
	raw_spin_lock(&raw_lock);
	spin_lock(&first_lock);
	spin_unlock(&first_lock);
	raw_spin_unlock(&raw_lock);
}

WAY sleeping_lock_wait_context(void)
{
	local_irq_disable();
	local_irq_enable();
	spin_lock(&first_lock);
	mutex_lock(&first_mutex);
	mutex_unlock(&first_mutex);
	spin_unlock(&first_lock);
}

WAY non_static_key(void)
{
	spinlock_t *lock = kzalloc(sizeof(*lock), GFP_KERNEL);

	spin_lock(lock);
	spin_unlock(lock);
}

WAY bad_contention(void)
{
#ifdef CONFIG_LOCK_STAT
	lock_contended(&first_mutex.dep_map, _RET_IP_);
#endif
}

WAY bad_acquired(void)
{
#ifdef CONFIG_LOCK_STAT
	lock_acquired(&first_mutex.dep_map, _RET_IP_);
#endif
}

WAY nest_lock_missing(void)
{
	mutex_lock_nest_lock(&first_mutex, &second_mutex);
	mutex_unlock(&first_mutex);
}

WAY rcu_dereference_unlocked(void)
{
	static int __rcu *pointer;

	sink = (long)rcu_dereference(pointer);
}

WAY sleep_under_rcu(void)
{
	rcu_read_lock();
	might_sleep();
	rcu_read_unlock();
}

WAY spinlock_bad_magic(void)
{
	static spinlock_t lock;

	memset(&lock, 0, sizeof(lock));
	arch_spin_lock(&lock.rlock.raw_lock);
	spin_unlock(&lock);
}

WAY spinlock_recursion(void)
{
	static DEFINE_SPINLOCK(lock);

	lockdep_off();
	spin_lock(&lock);
	spin_lock(&lock);
	lockdep_on();
}

WAY unlock_by_other(void)
{
	mutex_unlock(&second_mutex);
}

WAY irqs_on_already(void)
{
	lockdep_hardirqs_on(_RET_IP_);
	lockdep_assert_irqs_disabled();
}

/* --- contexts ----------------------------------------------------------------------------- */

WAY sleep_in_atomic(void)
{
	spin_lock(&first_lock);
	might_sleep();
	spin_unlock(&first_lock);
}

WAY sleep_irqs_off(void)
{
	local_irq_disable();
	might_sleep();
	local_irq_enable();
}

WAY schedule_in_atomic(void)
{
	preempt_disable();
	schedule_timeout_uninterruptible(2);
	preempt_enable();
}

WAY processor_id_preemptible(void)
{
	sink = smp_processor_id();
}

static DEFINE_PER_CPU(int, a_number);

WAY this_cpu_preemptible(void)
{
	__this_cpu_inc(a_number);
}

static void leaky_timer(struct timer_list *timer)
{
	preempt_disable();
}

WAY timer_leaks_preempt(void)
{
	static struct timer_list timer;

	timer_setup(&timer, leaky_timer, 0);
	timer.expires = jiffies + 2;
	add_timer(&timer);
	msleep(200);
}

static void leaky_work(struct work_struct *work)
{
	preempt_disable();
}

WAY work_leaks_preempt(void)
{
	static struct work_struct work;

	INIT_WORK(&work, leaky_work);
	schedule_work(&work);
	msleep(500);
}

/* --- stalls ------------------------------------------------------------------------------- */

static noinline void burn(int seconds)
{
	u64 end = local_clock() + seconds * NSEC_PER_SEC;

	while (local_clock() < end)
		cpu_relax();
}

WAY soft_lockup(void)
{
	preempt_disable();
	burn(30);
	preempt_enable();
}

static noinline int burn_irqs_off(void *unused)
{
	local_irq_disable();
	burn(40);
	local_irq_enable();
	return 0;
}

WAY hard_lockup(void)
{
	struct task_struct *task = kthread_create(burn_irqs_off, NULL, "burner");

	kthread_bind(task, 1);
	wake_up_process(task);
	msleep(45000);
}

static noinline int burn_under_rcu(void *unused)
{
	rcu_read_lock();
	burn(30);
	rcu_read_unlock();
	return 0;
}

WAY rcu_stall(void)
{
	struct task_struct *task = kthread_create(burn_under_rcu, NULL, "reader");

	kthread_bind(task, 1);
	wake_up_process(task);
	msleep(35000);
}

WAY rcu_self_stall(void)
{
	burn_under_rcu(NULL);
}

WAY rcu_expedited_stall(void)
{
	struct task_struct *task = kthread_create(burn_under_rcu, NULL, "reader");

	kthread_bind(task, 1);
	wake_up_process(task);
	msleep(200);
	synchronize_rcu_expedited();
}

static noinline int burn_in_task(void *unused)
{
	burn(40);
	return 0;
}

WAY rcu_tasks_stall(void)
{
#ifdef CONFIG_TASKS_RCU
	struct task_struct *task = kthread_create(burn_in_task, NULL, "never");

	kthread_bind(task, 1);
	wake_up_process(task);
	msleep(200);
	synchronize_rcu_tasks();
#endif
}

static noinline int sleep_for_ever(void *unused)
{
	DECLARE_COMPLETION_ONSTACK(never);

	wait_for_completion(&never);
	return 0;
}

WAY hung(void)
{
	kthread_run(sleep_for_ever, NULL, "sleeper");
	msleep(40000);
}

static noinline int wait_for_mutex(void *unused)
{
	mutex_lock(&first_mutex);
	mutex_unlock(&first_mutex);
	return 0;
}

WAY hung_on_mutex(void)
{
	mutex_lock(&first_mutex);
	kthread_run(wait_for_mutex, NULL, "waiter");
	msleep(40000);
	mutex_unlock(&first_mutex);
}

static noinline void burning_work(struct work_struct *work)
{
	burn(60);
}

WAY workqueue_lockup(void)
{
	static struct work_struct works[2];
	int i;

	for (i = 0; i < 2; i++) {
		INIT_WORK(&works[i], burning_work);
		schedule_work_on(1, &works[i]);
	}
	msleep(60000);
}

static void nothing(void *unused)
{
}

WAY csd_wait(void)
{
	struct task_struct *task = kthread_create(burn_irqs_off, NULL, "burner");

	kthread_bind(task, 1);
	wake_up_process(task);
	msleep(200);
	smp_call_function_single(1, nothing, NULL, 1);
}

/* --- interrupts --------------------------------------------------------------------------- */

WAY stray_vector(void)
{
	local_irq_disable();
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	__apic_send_IPI_self(0x61);
#else
	apic->send_IPI_self(0x61);
#endif
	local_irq_enable();
	mdelay(5);
}

static irqreturn_t not_mine(int irq, void *unused)
{
	return IRQ_NONE;
}

WAY nobody_cares(void)
{
	int i;

	if (request_irq(5, not_mine, IRQF_SHARED, "complain", (void *)&zero))
		return;
	for (i = 0; i < 100100; i++)
		generic_handle_irq_safe(5);
}

/* --- races -------------------------------------------------------------------------------- */

static noinline int write_word(void *unused)
{
	u64 end = local_clock() + 20 * NSEC_PER_SEC;

	while (local_clock() < end)
		shared_word++;
	return 0;
}

WAY word_race(void)
{
	u64 end = local_clock() + 20 * NSEC_PER_SEC;
	struct task_struct *task = kthread_create(write_word, NULL, "writer");

	kthread_bind(task, 1);
	wake_up_process(task);
	while (local_clock() < end)
		sink = shared_word;
}

/* --- ends --------------------------------------------------------------------------------- */

WAY plain_panic(void)
{
	panic("uintr: no way on (%d)", 3);
}

WAY smashed_stack(void)
{
	volatile char buffer[8];
	volatile int i;

	for (i = 0; i < 64; i++)
		*(volatile char *)(buffer + i) = 'x';
}

/* --- benign messages ------------------------------------------------------------------------ */

WAY benign_notes(void)
{
	pr_err("[Firmware Bug]: the BIOS has corrupted hw-PMU resources\n");
	pr_err("Spectre V2 : WARNING: Unprivileged eBPF is enabled\n");
	pr_err("uintr: no vector is left\n");
	pr_warn("uintr: debug: 3 warnings, 0 bugs\n");
	dump_stack();
}

static const struct {
	const char *name;
	void (*run)(void);
} ways[] = {
#define W(name) { #name, name }
	W(oob_read), W(oob_write), W(uaf_read), W(uaf_write), W(double_kfree), W(invalid_kfree),
	W(stack_oob), W(global_oob), W(vmalloc_oob), W(wild_access), W(kfence_uaf), W(kfence_oob),
	W(slub_redzone), W(slub_poison), W(slub_double_free), W(cache_destroyed_in_use),
	W(page_freed_while_mapped), W(leak), W(null_read), W(null_write), W(bad_page_fault), W(write_text),
	W(non_canonical), W(divide_by_zero), W(undefined_opcode), W(stack_segment),
	W(segment_not_present), W(breakpoint), W(call_null), W(call_data), W(stack_overflow),
	W(bad_msr_write), W(bad_msr_read), W(null_in_irq), W(plain_bug), W(plain_warn),
	W(warn_with_message), W(warn_once), W(warn_everywhere), W(warn_in_two_threads),
	W(refcount_underflow), W(refcount_uaf), W(refcount_saturated), W(refcount_sub),
	W(list_add_corrupt), W(list_add_twice), W(list_del_twice), W(list_del_corrupt),
	W(ubsan_shift), W(ubsan_bounds), W(ubsan_bool), W(timer_freed), W(timer_set_up_twice),
	W(sysfs_duplicate), W(kobject_uninitialized), W(memcpy_overflow), W(circular),
	W(recursive), W(inconsistent), W(irq_dependency), W(irq_inversion), W(unlock_unlocked),
	W(held_lock_freed), W(return_with_lock), W(exit_holding_lock), W(wait_context),
	W(sleeping_lock_wait_context), W(non_static_key), W(bad_contention), W(bad_acquired),
	W(nest_lock_missing), W(rcu_dereference_unlocked), W(sleep_under_rcu),
	W(spinlock_bad_magic), W(spinlock_recursion), W(unlock_by_other), W(irqs_on_already),
	W(sleep_in_atomic), W(sleep_irqs_off), W(schedule_in_atomic),
	W(processor_id_preemptible), W(this_cpu_preemptible), W(timer_leaks_preempt),
	W(work_leaks_preempt), W(soft_lockup), W(hard_lockup), W(rcu_stall), W(rcu_self_stall),
	W(rcu_expedited_stall), W(rcu_tasks_stall), W(hung), W(hung_on_mutex),
	W(workqueue_lockup), W(csd_wait), W(stray_vector), W(nobody_cares), W(word_race),
	W(plain_panic), W(smashed_stack), W(benign_notes),
};

static int complain(const char *name, const struct kernel_param *unused)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!sysfs_streq(name, ways[i].name))
			continue;
		ways[i].run();
		return 0;
	}
	return -EINVAL;
}

static const struct kernel_param_ops complain_ops = { .set = complain };
module_param_cb(now, &complain_ops, NULL, 0200);
